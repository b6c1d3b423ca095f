"""Which checkpoints a model has, where they are, and which bytes they are."""
