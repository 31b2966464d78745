"""Where the noise of a pair comes from: within a session, between sessions, or from time."""
