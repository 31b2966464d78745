"""All machines of a session."""
