"""What cells cost in energy."""
