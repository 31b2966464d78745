"""Measures each cell once."""
