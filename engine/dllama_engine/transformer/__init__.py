"""One rank's forward pass of the transformer."""
