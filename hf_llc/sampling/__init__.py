"""Sampling from the localized posterior, pure torch: the objective, chains, independent draws, randomness."""
