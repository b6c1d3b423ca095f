"""What is computed at a checkpoint: one folder a measure."""
