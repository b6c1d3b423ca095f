"""Other tools: trackers and Hugging Face Jobs."""
