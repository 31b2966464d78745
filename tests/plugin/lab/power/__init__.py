"""Energy of cells."""
