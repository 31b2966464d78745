"""What one row of the table of operations does."""
