"""Sizes for people."""

from __future__ import annotations


def format_bytes(n: int) -> str:
    """A size for people.

    >>> format_bytes(512), format_bytes(3 << 20), format_bytes(7_400_000_000)
    ('512 B', '3.00 MiB', '6.89 GiB')
    """
    size = float(n)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
