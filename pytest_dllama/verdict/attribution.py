"""Where a metric's change sits: which kind of work on which rank, from the pairs' parts of time.

The root lives through the whole of TTFT, TPOT and RCT, so that the changes of its parts add up to
the metric's. Where it waits longer, the cause is looked for on the other ranks: the one whose own
work changed, beyond the root's own, by what the waiting changed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_dllama.metrics.parts import (
    ATTENTION,
    EMBEDDING,
    EVAL,
    EXCHANGE_COPY,
    EXCHANGE_WAIT,
    EXCHANGE_WIRE,
    FEED_FORWARD,
    LOGITS,
    OTHER,
    OUTPUT_PROJECTION,
    QKV,
    SYNC,
)
from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.verdict import AttributedPart, Attribution, MetricVerdict
from pytest_dllama.stats import attribution as statistics
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.paired import paired_effect

Phase = Literal["prefill", "decode"]
ROOT = 0
# What a rank does whether or not the others are there.
WORK = frozenset((QKV, ATTENTION, OUTPUT_PROJECTION, FEED_FORWARD, EXCHANGE_COPY, LOGITS))
# As an engine without spans divides a step.
_COARSE = {part: EVAL for part in (*WORK, EMBEDDING, EVAL)} | {
    part: SYNC for part in (EXCHANGE_WIRE, EXCHANGE_WAIT, SYNC)
}
_LEVEL = 0.05
_LEAST_SHARE = 0.005  # of a part that is told though it did not surely change
# Of a change in waiting: from here on a rank's own work that surely changed is its cause. Where
# ranks share cores, who waits gives the core away and gets it back late: waiting grows by more.
_EXPLAINS = 0.1


@dataclass(frozen=True, slots=True)
class _Pair:
    """The parts of both sides of a pair, and by how much each phase counts in the metric."""

    base: tuple[PartTime, ...]
    new: tuple[PartTime, ...]
    weights: Mapping[str, float]  # by phase; a phase that is not there does not count


def attribute(metric: str, base: Sequence[Sample], new: Sequence[Sample]) -> Attribution:
    """Rank the parts of a metric by their share of its change.

    Args:
        metric: ttft_s, tpot_ms or rct_s; another one has no parts.
        base: a sample a pair, in the order of the pairs.
        new: likewise.

    Returns:
        Parts by falling share: those that surely changed, and those of more than half a percent of
        the whole change. None with fewer than two pairs that tell parts.
    """
    pairs = [pair for b, n in zip(base, new, strict=False) if (pair := _pair(metric, b, n))]
    pairs = _comparable(pairs)
    if len(pairs) < 2:
        return Attribution(metric=metric)
    before, after = _columns(pairs, "base", _on_root), _columns(pairs, "new", _on_root)
    try:
        found = statistics.attribute(_named(before), _named(after), level=_LEVEL)
    except DataError:  # a base of no time at all
        return Attribution(metric=metric)
    keys = {_name(key): key for key in before.keys() | after.keys()}
    parts = [
        _attributed(part, keys[part.name], pairs, before, after)
        for part in found.parts
        if part.is_named or abs(part.share.value) >= _LEAST_SHARE
    ]
    told = math.fsum(part.share for part in parts)
    return Attribution(metric=metric, parts=tuple(parts), unexplained=round(1 - told, 9))


def with_attribution(
    verdict: MetricVerdict, base: Sequence[Sample], new: Sequence[Sample]
) -> MetricVerdict:
    """The verdict on a change, with where it sits; samples as `attribute` takes them."""
    if verdict.status not in ("REGRESSED", "IMPROVED"):
        return verdict
    found = attribute(verdict.metric, base, new)
    return verdict.model_copy(update={"attribution": found})


# -- the pairs ------------------------------------------------------------------------------------


def _pair(metric: str, base: Sample, new: Sample) -> _Pair | None:
    """None where a side tells no parts of what the metric is made of."""
    later = max(0, base.n_output_tokens - 1)
    weights: dict[str, dict[str, float]] = {
        "ttft_s": {"prefill": 1.0},
        "tpot_ms": {"decode": 1.0},
        "rct_s": {"prefill": 1.0, "decode": float(later)},
    }
    counts = weights.get(metric, {})
    if not counts or base.n_output_tokens != new.n_output_tokens:
        return None
    needed = {phase for phase, weight in counts.items() if weight}
    if any(not needed <= {part.phase for part in side.parts} for side in (base, new)):
        return None
    return _Pair(base.parts, new.parts, counts)


def _comparable(pairs: Sequence[_Pair]) -> list[_Pair]:
    """All sides divided alike: as coarsely as the coarsest of them."""
    sides = [side for pair in pairs for side in (pair.base, pair.new)]
    if all(_is_fine(side) for side in sides):
        return list(pairs)
    return [_Pair(_coarsened(pair.base), _coarsened(pair.new), pair.weights) for pair in pairs]


def _is_fine(parts: Iterable[PartTime]) -> bool:
    return any(part.part in WORK for part in parts)


def _coarsened(parts: Iterable[PartTime]) -> tuple[PartTime, ...]:
    return tuple(
        part.model_copy(update={"part": _COARSE.get(part.part, OTHER), "waited_for": None})
        for part in parts
        if part.rank == ROOT
    )


_Key = tuple[str, ...]  # what a column of parts is told apart by
_Columns = dict[_Key, list[float]]  # ms that count in the metric, a value a pair


def _columns(
    pairs: Sequence[_Pair], side: Literal["base", "new"], key_of: Callable[[PartTime], _Key | None]
) -> _Columns:
    """Sums of parts with the same key; a part that a pair lacks is 0 there."""
    columns: _Columns = defaultdict(lambda: [0.0] * len(pairs))
    for i, pair in enumerate(pairs):
        for part in pair.base if side == "base" else pair.new:
            key = key_of(part)
            if key is not None and part.phase in pair.weights:
                columns[key][i] += part.ms * pair.weights[part.phase]
    return dict(columns)


def _on_root(part: PartTime) -> _Key | None:
    """Phase and part; waiting is one part, whoever is waited for."""
    return (part.phase, part.part) if part.rank == ROOT else None


def _name(key: _Key) -> str:
    return " ".join(key)


def _named(columns: _Columns) -> dict[str, list[float]]:
    return {_name(key): column for key, column in columns.items()}


# -- a part ---------------------------------------------------------------------------------------


def _attributed(
    part: statistics.Part,
    key: _Key,
    pairs: Sequence[_Pair],
    before: _Columns,
    after: _Columns,
) -> AttributedPart:
    none = [0.0] * len(pairs)
    base, new = before.get(key, none), after.get(key, none)
    changes = _changes(base, new)
    waited_for, cause = None, None
    if key[1] == EXCHANGE_WAIT:
        waited_for, cause = _cause_of_waiting(key[0], pairs, changes)
    return AttributedPart.model_validate(
        {
            "phase": key[0],
            "part": key[1],
            "rank": ROOT,
            "waited_for": waited_for,
            "effect_ms": _mean(changes),
            "share": part.share.value,
            "share_lower": _finite(part.share.lower),
            "share_upper": _finite(part.share.upper),
            "change": _growth(base, new),
            "is_sure": part.is_named,
            "pairs_to_be_sure": part.pairs_to_name,
            "because_part": cause and cause[0],
            "because_change": cause and cause[1],
        }
    )


def _cause_of_waiting(
    phase: str, pairs: Sequence[_Pair], waited_ms: Sequence[float]
) -> tuple[int | None, tuple[str, float | None] | None]:
    """For whom the root waits otherwise than before, and that rank's part of work that changed."""
    of_work = (_key_of_work(phase, by_part=False), _key_of_work(phase, by_part=True))
    (before, after), (before_by, after_by) = (
        (_columns(pairs, "base", key_of), _columns(pairs, "new", key_of)) for key_of in of_work
    )
    direction = math.copysign(1.0, _mean(waited_ms))
    none = [0.0] * len(pairs)
    own = _changes(before.get(("0",), none), after.get(("0",), none))
    beyond: dict[str, list[float]] = {}  # rank -> change of its work beyond the root's
    for (rank,) in before.keys() & after.keys():
        changes = _changes(before[rank,], after[rank,])
        beyond[rank] = [direction * (c - o) for c, o in zip(changes, own, strict=True)]
    least = _EXPLAINS * abs(_mean(waited_ms))
    causes = [
        rank
        for rank, changes in beyond.items()
        if rank != "0" and _mean(changes) >= least and paired_effect(changes).lower > 0
    ]
    if not causes:
        return _most_waited_for(phase, pairs, direction), None
    cause = max(causes, key=lambda rank: _mean(beyond[rank]))
    grown = {
        key[1]: direction * _mean(_changes(before_by.get(key, none), after_by[key]))
        for key in after_by
        if key[0] == cause
    }
    part = max(grown, key=grown.__getitem__)
    change = _growth(before_by.get((cause, part), none), after_by[cause, part])
    return int(cause), (part, change)


def _key_of_work(phase: str, *, by_part: bool) -> Callable[[PartTime], _Key | None]:
    """By rank, or by rank and part: what a rank does whether or not the others are there."""

    def key_of(part: PartTime) -> _Key | None:
        if part.phase != phase or part.part not in WORK:
            return None
        return (str(part.rank), part.part) if by_part else (str(part.rank),)

    return key_of


def _most_waited_for(phase: str, pairs: Sequence[_Pair], direction: float) -> int | None:
    """The peer for whom the root's waiting changed most."""

    def key_of(part: PartTime) -> _Key | None:
        ours = part.rank == ROOT and part.part == EXCHANGE_WAIT and part.phase == phase
        return (str(part.waited_for),) if ours and part.waited_for is not None else None

    before, after = _columns(pairs, "base", key_of), _columns(pairs, "new", key_of)
    none = [0.0] * len(pairs)
    changes = {
        key: direction * _mean(_changes(before.get(key, none), after.get(key, none)))
        for key in before.keys() | after.keys()
    }
    return int(max(changes, key=changes.__getitem__)[0]) if changes else None


def _changes(base: Sequence[float], new: Sequence[float]) -> list[float]:
    return [n - b for b, n in zip(base, new, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _growth(base: Sequence[float], new: Sequence[float]) -> float | None:
    """Relative change of the sum: 0.31 is 31 % slower; None where it took no time before."""
    before = math.fsum(base)
    return math.fsum(new) / before - 1 if before > 0 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
