"""Numbers in, numbers out: the mathematics of verdicts, noise and alarms (docs/statistics.md)."""
