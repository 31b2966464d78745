"""From one generated token to the next without Python, on the root and on workers."""
