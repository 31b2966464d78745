"""A run against earlier runs: tables, creep from an anchor, and the alarm of a series of nights."""
