"""May the figures be believed? Starts nothing."""
