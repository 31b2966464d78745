"""A against B: what is compared, one pair of sessions, and what is known of a cell so far."""
