"""Adapters: one outside library a file. They know the nouns, not the numerics."""
