"""A file -> what dllama printed: everything that shells, collectors and editors add is undone."""
