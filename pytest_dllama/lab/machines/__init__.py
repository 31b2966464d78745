"""The machines of a session: which they are, made ready for its cells, what they can do."""
