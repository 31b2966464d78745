"""Builds of other revisions: checked out, made once, kept."""
