"""One HTML file with everything in it that shows runs: curves, chains, settings, what the numbers mean."""
