"""Sections of the report, each as blocks."""
