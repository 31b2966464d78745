"""The route of a mixture of experts, int64 (route_words,): who computes what, sorted by expert.

How many experts are in use, then per expert in use its number and first row (n_experts + 1 of
each), then the token of each row and the row of each slot (n_slots of each).
"""

from __future__ import annotations


def route_words(n_experts: int, n_slots: int) -> int:
    """Size of a route."""
    return 1 + 2 * (n_experts + 1) + 2 * n_slots
