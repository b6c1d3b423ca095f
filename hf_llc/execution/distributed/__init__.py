"""Processes of one launch: how they start, find each other, share a model and exchange messages."""
