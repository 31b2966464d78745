"""Counts with their noun, durations and sizes, as people read them in English."""

from __future__ import annotations

_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def in_time(seconds: float) -> str:
    """A duration for people, in one or two units.

    >>> [in_time(s) for s in (0.4, 59, 61, 3725, 7200)]
    ['0 s', '59 s', '1 min', '1 h 2 min', '2 h']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def in_bytes(size: float) -> str:
    """Bytes for people, in decimal units.

    >>> [in_bytes(n) for n in (1, 999, 1500, 12_345_678, 3.2e9)]
    ['1 byte', '999 bytes', '1.5 kB', '12.3 MB', '3.2 GB']
    """
    for unit, one in _SIZES:
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size:.0f} byte{'' if round(size) == 1 else 's'}"


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "worker"), counted(3, "worker")
    ('1 worker', '3 workers')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
