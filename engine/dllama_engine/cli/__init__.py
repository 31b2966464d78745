"""The command `dllama-py`: flags in, dllama's lines out."""
