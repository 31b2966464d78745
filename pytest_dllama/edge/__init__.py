"""What pytest's hooks are made of, and what other plugins do to us and get from us."""
