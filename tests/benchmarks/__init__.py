"""Measurements and comparisons that `make bench` runs; not part of the suite."""
