"""How long a proof will still take, by what its pairs took so far."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.verdicts.proof.journal import Journal
from benchmarks.verdicts.proof.taking.campaign import Wish, missing

GUESS_S = 1.5  # a pair of a cell that was never measured; two cores, a small model
BUSY = 1.8  # times as long, beside a busy process
OVERHEAD = 1.1  # oracles and warm-ups of each comparison


def to_go(wishes: Iterable[Wish], journal: Journal) -> str:
    """Minutes by stage, in a line; empty if nothing is missing."""
    seconds: dict[str, float] = {}
    for wish in wishes:
        left_s = sum(
            n * pair_s(journal, cell, is_busy=wish.condition.is_busy)
            for cell, n in missing(wish, journal).items()
        )
        name = f"{wish.condition.stage}{', busy' if wish.condition.is_busy else ''}"
        seconds[name] = seconds.get(name, 0.0) + OVERHEAD * left_s
    told = [f"{name} {minutes(left_s)}" for name, left_s in seconds.items() if left_s]
    return f"about {minutes(sum(seconds.values()))} to go: {', '.join(told)}" if told else ""


def pair_s(journal: Journal, cell: str, *, is_busy: bool) -> float:
    """What a pair of a cell takes: as it did in like company, or else as it did alone."""
    alike, others = _walls(journal, cell, is_busy), _walls(journal, cell, not is_busy)
    if alike:
        return statistics.median(alike)
    slower = BUSY if is_busy else 1 / BUSY
    if others:
        return slower * statistics.median(others)
    return GUESS_S * (BUSY if is_busy else 1.0)


def _walls(journal: Journal, cell: str, is_busy: bool) -> Sequence[float]:
    return [
        pair.wall_s
        for pair in journal.pairs()
        if pair.cell == cell and pair.condition.is_busy == is_busy
    ]


def minutes(seconds: float) -> str:
    """A length of time as people plan it.

    >>> minutes(29), minutes(95), minutes(4000)
    ('29 s', '2 min', '67 min')
    """
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
