"""Notes that tell the same of several cells: the first of them stands for all."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CELL = re.compile(r"^\S+: ")
_NUMBER = re.compile(r"\d[\d.,]*")


def without_figures(text: str) -> str:
    """The text with every number alike.

    >>> without_figures("port 5000 of 2")
    'port 0 of 0'
    """
    return _NUMBER.sub("0", text)


def alike(notes: Sequence[str]) -> list[tuple[str, int]]:
    """The first of those notes that differ only in their cell and their numbers, and the others.

    >>> alike(["a-2: 3 heads do not fit.", "Slow.", "b-4: 52 heads do not fit."])
    [('a-2: 3 heads do not fit.', 1), ('Slow.', 0)]
    """
    groups: dict[str, list[str]] = {}
    for note in notes:
        groups.setdefault(without_figures(_CELL.sub("", note)), []).append(note)
    return [(group[0], len(group) - 1) for group in groups.values()]
