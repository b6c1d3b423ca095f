"""The sampler on models whose coefficient is known exactly."""
