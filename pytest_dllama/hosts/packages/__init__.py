"""What hosts get: the agent as one file, the engine as a wheel."""
