"""A model and data as a loss per item: one folder a task."""
