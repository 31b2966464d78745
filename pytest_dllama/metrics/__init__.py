"""Traces to figures; every metric is defined once."""
