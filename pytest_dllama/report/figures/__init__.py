"""What is compared: quantities of a run."""
