"""Cards as people and programs really write them, for tests of what publishing does to them."""
