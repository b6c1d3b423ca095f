"""A Hugging Face Hub on the loopback interface, for tests that need real clients and no network."""
