"""Independent draws of the localizing prior, and the moments that λ̂ is computed from."""
