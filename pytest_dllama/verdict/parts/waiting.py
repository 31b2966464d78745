"""For whom the root waits otherwise than before, and what that rank does otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pytest_dllama.metrics.parts import EXCHANGE_WAIT
from pytest_dllama.record.cell import PartTime
from pytest_dllama.record.verdict import Cause
from pytest_dllama.verdict.parts.columns import (
    ROOT,
    Key,
    Pair,
    changes_of,
    columns,
    growth,
    mean,
)

Because = tuple[str, float | None]  # a kind of work, and how it changed itself


def reason_of_waiting(
    phase: str, pairs: Sequence[Pair], waited_ms: Sequence[float], cause: Cause | None
) -> tuple[int | None, Because | None]:
    """For whom the root waits otherwise than before, and that rank's work that changed.

    Args:
        phase: of the waiting.
        pairs: two or more.
        waited_ms: change of the root's waiting, a value a pair.
        cause: of the phase's change; if it is another rank's work and the waiting went the same
            way, it is the reason. Else only the peer is known.
    """
    direction = math.copysign(1.0, mean(waited_ms))
    others = [rank for rank in cause.ranks if rank != ROOT] if cause else []
    if cause is None or not others or cause.change * direction <= 0:
        return _most_waited_for(phase, pairs, direction), None
    before, after = (columns(pairs, side, _same_work(cause)) for side in ("base", "new"))
    peer = _most_waited_for(phase, pairs, direction)
    if peer not in others:  # where ranks share cores, whose message was last is chance
        changed = {
            rank: direction * mean(changes_of(before[str(rank),], after[str(rank),]))
            for rank in others
        }
        peer = max(changed, key=changed.__getitem__)
    return peer, (cause.part, growth(before[str(peer),], after[str(peer),]))


def _same_work(cause: Cause) -> Callable[[PartTime], Key | None]:
    def key_of(part: PartTime) -> Key | None:
        is_it = (part.phase, part.part) == (cause.phase, cause.part)
        return (str(part.rank),) if is_it else None

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
