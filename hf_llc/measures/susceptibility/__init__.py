"""Susceptibilities: how components of a model answer to a change of the data."""
