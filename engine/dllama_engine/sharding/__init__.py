"""Who holds what, and how much memory that is: closed forms."""
