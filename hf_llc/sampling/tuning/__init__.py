"""Settings that were not given, chosen from measurements at w*: γ, step size, sampler, start, warm-up, noise
reduction."""
