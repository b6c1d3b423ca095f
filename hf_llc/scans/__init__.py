"""Measures over many checkpoints: shared settings, downloads ahead, resume, shards, the demo."""
