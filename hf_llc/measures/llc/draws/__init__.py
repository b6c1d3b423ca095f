"""λ̂ by independent draws: rounds, how many, when they serve, the verdict."""
