"""One rank's forward pass."""
