"""Settings for a scan, found by pilot chains: plateaus in γ and ε, the number of draws."""
