"""Bayesian influence between items: how the loss of one answers to the weight of another."""
