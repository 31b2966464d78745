"""Root, workers, and what they agree on."""
