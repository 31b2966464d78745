"""For whom the root waits otherwise than before, and what that rank does otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pytest_dllama.metrics.parts import EXCHANGE_WAIT
from pytest_dllama.record.cell import PartTime
from pytest_dllama.stats.paired import ln_ratios, paired_effect
from pytest_dllama.verdict.parts.columns import (
    ROOT,
    WORK,
    Key,
    Pair,
    changes_of,
    columns,
    growth,
    mean,
)

# Of a change in waiting: from here on a rank's own work that surely changed is its cause. Where
# ranks share cores, who waits gives the core away and gets it back late: waiting grows by more.
_EXPLAINS = 0.1
# ... or from here on where it became much slower itself. Less than that may be an effect of the
# waiting: whoever sleeps longer comes back to colder caches and a slower clock.
_HINTS, _MUCH = 0.02, 0.25


def cause_of_waiting(
    phase: str, pairs: Sequence[Pair], waited_ms: Sequence[float]
) -> tuple[int | None, tuple[str, float | None] | None]:
    """For whom the root waits otherwise than before, and that rank's part of work that changed."""
    of_work = (_key_of_work(phase, by_part=False), _key_of_work(phase, by_part=True))
    (before, after), (before_by, after_by) = (
        (columns(pairs, "base", key_of), columns(pairs, "new", key_of)) for key_of in of_work
    )
    none = [0.0] * len(pairs)
    direction = math.copysign(1.0, mean(waited_ms))
    own: dict[str, list[float]] = {}  # rank -> change of its work, in the waiting's direction
    for (rank,) in before.keys() & after.keys():
        changes = changes_of(before[rank,], after[rank,])
        own[rank] = [direction * change for change in changes]
    causes = [
        rank
        for rank, changes in own.items()
        if rank != str(ROOT)
        and _surely_went(direction, before[rank,], after[rank,])
        and mean(changes) >= _least(before[rank,], after[rank,]) * abs(mean(waited_ms))
    ]
    if not causes:
        return _most_waited_for(phase, pairs, direction), None
    cause = max(causes, key=lambda rank: mean(own[rank]))
    grown = {
        key[1]: direction * mean(changes_of(before_by.get(key, none), after_by[key]))
        for key in after_by
        if key[0] == cause
    }
    part = max(grown, key=grown.__getitem__)
    change = growth(before_by.get((cause, part), none), after_by[cause, part])
    return int(cause), (part, change)


def _surely_went(direction: float, base: Sequence[float], new: Sequence[float]) -> bool:
    """Whether a rank's work surely changed that way: by ratios, for noise multiplies times."""
    if min(*base, *new) <= 0:
        return False
    effect = paired_effect(ln_ratios(base, new))
    return effect.lower > 0 if direction > 0 else effect.upper < 0


def _least(base: Sequence[float], new: Sequence[float]) -> float:
    """The share of a change in waiting that a rank's work must have, to be its cause."""
    itself = growth(base, new)
    return _HINTS if itself is not None and abs(itself) >= _MUCH else _EXPLAINS


def _key_of_work(phase: str, *, by_part: bool) -> Callable[[PartTime], Key | None]:
    """By rank, or by rank and part: what a rank does whether or not the others are there."""

    def key_of(part: PartTime) -> Key | None:
        if part.phase != phase or part.part not in WORK:
            return None
        return (str(part.rank), part.part) if by_part else (str(part.rank),)

    return key_of


def _most_waited_for(phase: str, pairs: Sequence[Pair], direction: float) -> int | None:
    """The peer for whom the root's waiting changed most."""

    def key_of(part: PartTime) -> Key | None:
        ours = part.rank == ROOT and part.part == EXCHANGE_WAIT and part.phase == phase
        return (str(part.waited_for),) if ours and part.waited_for is not None else None

    before, after = columns(pairs, "base", key_of), columns(pairs, "new", key_of)
    none = [0.0] * len(pairs)
    changes = {
        key: direction * mean(changes_of(before.get(key, none), after.get(key, none)))
        for key in before.keys() | after.keys()
    }
    return int(max(changes, key=changes.__getitem__)[0]) if changes else None
