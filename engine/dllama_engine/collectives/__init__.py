"""How ranks combine vectors, and in how many bytes."""
