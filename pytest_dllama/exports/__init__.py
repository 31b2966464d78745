"""A run file in the formats of other tools."""
