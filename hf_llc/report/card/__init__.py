"""The model card: its section and metadata, merged into a card without harming what others wrote."""
