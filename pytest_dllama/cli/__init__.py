"""The command `pytest-dllama`."""
