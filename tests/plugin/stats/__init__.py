"""The mathematics of verdicts: numbers only, no files, no processes."""
