"""Pictures of curves, chains, draws, calibrations and comparisons (matplotlib)."""
