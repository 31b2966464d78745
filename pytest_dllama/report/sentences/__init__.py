"""Every statement the report can make, as values; no wording."""
