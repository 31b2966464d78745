"""How fast must a cell be? Limits and tolerances, the file that has them, and a first such file."""
