"""Singular fluctuation, WAIC and loss gains: what losses of single items do under the posterior."""
