"""Jinja templates of what hf-llc writes on a model card, and the card of the demo model."""
