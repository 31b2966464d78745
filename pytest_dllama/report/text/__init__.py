"""Words and numbers of one language."""
