"""Rows of texts -> lines whose columns stand below each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[tuple[str, ...]], right: Collection[int] = ()) -> list[str]:
    """One line a row, two spaces between columns.

    Args:
        rows: texts, as many in each.
        right: columns that end at the same place, as numbers do; all others begin there.

    >>> aligned([("cell", "ms"), ("tiny-2", "0.71"), ("tiny-10", "1")], right=(1,))
    ['cell       ms', 'tiny-2   0.71', 'tiny-10     1']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
