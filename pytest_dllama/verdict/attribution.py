"""Where a metric's change sits: which kind of work on which rank, from the pairs' parts of time.

The root lives through the whole of TTFT, TPOT and RCT, so that the changes of its parts add up to
the metric's. Ranks work in step, so that much of the change may be waiting: the cause is the work,
on whichever ranks, that surely changed by the most time (`parts.cause`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_dllama.metrics.parts import EXCHANGE_WAIT
from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.verdict import AttributedPart, Attribution, Cause, MetricVerdict
from pytest_dllama.stats import attribution as statistics
from pytest_dllama.stats.errors import DataError
from pytest_dllama.verdict.limits.limit import FOR_ANOTHER
from pytest_dllama.verdict.parts.cause import find_cause, work_changes
from pytest_dllama.verdict.parts.columns import (
    ROOT,
    Columns,
    Key,
    Pair,
    changes_of,
    columns,
    comparable,
    growth,
    mean,
    pair_of,
)
from pytest_dllama.verdict.parts.waiting import Because, reason_of_waiting

_LEVEL = 0.05
_LEAST_SHARE = 0.005  # of a part that is told though it did not surely change
_SURE = 0.01  # of work that changed though its metric did not: it is told unasked
_OF_ONE_PHASE = ("ttft_s", "tpot_ms")


def attribute(metric: str, base: Sequence[Sample], new: Sequence[Sample]) -> Attribution:
    """Rank the parts of a metric by their share of its change.

    Args:
        metric: ttft_s, tpot_ms or rct_s; another one has no parts.
        base: a sample a pair, in the order of the pairs.
        new: likewise.

    Returns:
        The cause, and parts: the cause's own first, the others by falling share, those that surely
        changed and those of more than half a percent of the whole change. None with fewer than two
        pairs that tell parts.
    """
    pairs = _pairs(metric, base, new)
    if len(pairs) < 2:
        return Attribution(metric=metric)
    before, after = columns(pairs, "base", _on_root), columns(pairs, "new", _on_root)
    try:
        found = statistics.attribute(_named(before), _named(after), level=_LEVEL)
    except DataError:  # a base of no time at all
        return Attribution(metric=metric)
    keys = {_name(key): key for key in before.keys() | after.keys()}
    cause = _cause(pairs, before, after)
    parts = [
        _attributed(part, keys[part.name], pairs, before, after)
        for part in found.parts
        if part.is_named
        or abs(part.share.value) >= _LEAST_SHARE
        or (cause and keys[part.name] == (cause.phase, cause.part))
    ]
    told = math.fsum(part.share for part in parts)
    parts.sort(key=lambda part: not _is_of(part, cause))  # stable: the others stay by share
    return Attribution(
        metric=metric, cause=cause, parts=tuple(parts), unexplained=round(1 - told, 9)
    )


def with_attribution(
    verdict: MetricVerdict, base: Sequence[Sample], new: Sequence[Sample]
) -> MetricVerdict:
    """The verdict with where its change sits; samples as `attribute` takes them.

    Where the metric did not surely change, a kind of work may have: a small change is lost in the
    noise of the whole and large beside that of its part.
    """
    if verdict.status in ("REGRESSED", "IMPROVED"):
        found = _of_another(verdict, base, new) or attribute(verdict.metric, base, new)
        return verdict.model_copy(update={"attribution": found})
    if verdict.metric in _OF_ONE_PHASE:  # RCT's work is theirs
        changed = changed_work(verdict.metric, base, new, _SURE)
        return verdict.model_copy(update={"changed_work": changed})
    return verdict


def _of_another(
    verdict: MetricVerdict, base: Sequence[Sample], new: Sequence[Sample]
) -> Attribution | None:
    """Of a metric that is judged for another's sake: spans are sums, which only that one has.

    None where it is no such metric, or the other one did not change the same way: hiccups, which
    steady TPOT leaves out, then hide in TPOT's parts what steady TPOT shows.
    """
    other = FOR_ANOTHER.get(verdict.metric)
    sides = [[sample.tpot_ms for sample in side if sample.tpot_ms] for side in (base, new)]
    if other != "tpot_ms" or verdict.change is None or not all(sides):
        return None
    went = mean(sides[1]) - mean(sides[0])
    return attribute(other, base, new) if went * verdict.change > 0 else None


def changed_work(
    metric: str, base: Sequence[Sample], new: Sequence[Sample], level: float
) -> tuple[Cause, ...]:
    """Kinds of work that surely changed, the surest first; `level` is two-sided, of all together.

    Samples as `attribute` takes them.
    """
    pairs = _pairs(metric, base, new)
    if len(pairs) < 2:
        return ()
    return tuple(found.change for found in work_changes(pairs, level) if found.is_sure)


# -- the pairs ------------------------------------------------------------------------------------


def _pairs(metric: str, base: Sequence[Sample], new: Sequence[Sample]) -> list[Pair]:
    """Those that tell parts, all divided alike."""
    told = [pair for b, n in zip(base, new, strict=False) if (pair := pair_of(metric, b, n))]
    return comparable(told)


def _on_root(part: PartTime) -> Key | None:
    """Phase and part; waiting is one part, whoever is waited for."""
    return (part.phase, part.part) if part.rank == ROOT else None


def _name(key: Key) -> str:
    return " ".join(key)


def _named(columns: Columns) -> dict[str, list[float]]:
    return {_name(key): column for key, column in columns.items()}


# -- a part ---------------------------------------------------------------------------------------


def _cause(
    pairs: Sequence[Pair], before: Columns, after: Columns, phase: str | None = None
) -> Cause | None:
    """Of a metric's change, or of that in one of its phases."""
    of_phase = [key for key in before.keys() | after.keys() if phase in (None, key[0])]
    none = [0.0] * len(pairs)
    changes = (changes_of(before.get(key, none), after.get(key, none)) for key in of_phase)
    return find_cause(pairs, math.fsum(map(mean, changes)), phase)


def _is_of(part: AttributedPart, cause: Cause | None) -> bool:
    """Whether it is the cause's own time on the root or, of another rank's, the waiting for it."""
    if cause is None or part.phase != cause.phase:
        return False
    if ROOT in cause.ranks:
        return part.part == cause.part
    return part.part == EXCHANGE_WAIT and part.waited_for in cause.ranks


def _attributed(
    part: statistics.Part,
    key: Key,
    pairs: Sequence[Pair],
    before: Columns,
    after: Columns,
) -> AttributedPart:
    none = [0.0] * len(pairs)
    base, new = before.get(key, none), after.get(key, none)
    changes = changes_of(base, new)
    waited_for: int | None = None
    because: Because | None = None
    if key[1] == EXCHANGE_WAIT:
        cause = _cause(pairs, before, after, key[0])
        waited_for, because = reason_of_waiting(key[0], pairs, changes, cause)
    return AttributedPart.model_validate(
        {
            "phase": key[0],
            "part": key[1],
            "rank": ROOT,
            "waited_for": waited_for,
            "effect_ms": mean(changes),
            "share": part.share.value,
            "share_lower": _finite(part.share.lower),
            "share_upper": _finite(part.share.upper),
            "change": growth(base, new),
            "is_sure": part.is_named,
            "pairs_to_be_sure": part.pairs_to_name,
            "because_part": because and because[0],
            "because_change": because and because[1],
        }
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
