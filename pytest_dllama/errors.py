"""What all errors of ours have in common that a user is told of."""

from __future__ import annotations


class ToldError(Exception):
    """Its text tells a user what is wrong and what helps: commands print it and exit with 2."""
