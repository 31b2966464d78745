"""Models under test, and the one door to the engine's closed forms."""
