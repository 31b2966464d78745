"""What the user may ask for: one declaration, typed values."""
