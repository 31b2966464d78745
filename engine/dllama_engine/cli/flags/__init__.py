"""dllama's command line: what flags there are, what their values mean, which go together."""
