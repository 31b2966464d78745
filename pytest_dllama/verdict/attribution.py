"""Where a metric's change sits: which kind of work on which rank, from the pairs' parts of time.

The root lives through the whole of TTFT, TPOT and RCT, so that the changes of its parts add up to
the metric's. Where it waits longer, the cause is looked for on the other ranks: the one whose own
work surely became slower, and most of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_dllama.metrics.parts import EXCHANGE_WAIT
from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.verdict import AttributedPart, Attribution, MetricVerdict
from pytest_dllama.stats import attribution as statistics
from pytest_dllama.stats.errors import DataError
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
from pytest_dllama.verdict.parts.waiting import cause_of_waiting

_LEVEL = 0.05
_LEAST_SHARE = 0.005  # of a part that is told though it did not surely change


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
    pairs = [pair for b, n in zip(base, new, strict=False) if (pair := pair_of(metric, b, n))]
    pairs = comparable(pairs)
    if len(pairs) < 2:
        return Attribution(metric=metric)
    before, after = columns(pairs, "base", _on_root), columns(pairs, "new", _on_root)
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


def _on_root(part: PartTime) -> Key | None:
    """Phase and part; waiting is one part, whoever is waited for."""
    return (part.phase, part.part) if part.rank == ROOT else None


def _name(key: Key) -> str:
    return " ".join(key)


def _named(columns: Columns) -> dict[str, list[float]]:
    return {_name(key): column for key, column in columns.items()}


# -- a part ---------------------------------------------------------------------------------------


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
    waited_for, cause = None, None
    if key[1] == EXCHANGE_WAIT:
        waited_for, cause = cause_of_waiting(key[0], pairs, changes)
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
            "because_part": cause and cause[0],
            "because_change": cause and cause[1],
        }
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
