"""How a story begins, before its plot does."""

from __future__ import annotations

ONCE = (
    "One morning,", "One evening,", "One day,", "One afternoon,",
    "Once upon a time,", "Long ago,", "On Sunday,", "Last summer,", "One fine day,",
)  # fmt: skip
"""Openings that go straight to what happened."""

ALWAYS = ("Every day,", "Every morning,", "Every summer,", "Every week,")
"""Openings that tell a habit first."""

HABITS = (
    "helped {her} {elder} with the work.",
    "played in the garden with {her} {elder}.",
    "read a good book to {her} {elder}.",
    "learned something new from {her} {elder}.",
)
TURN = ("One day, {she}", "But one day, {she}")
"""How a habit turns into the plot's opening."""
