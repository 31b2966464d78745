"""The parts of time of pairs of samples, side by side: columns of milliseconds, a value a pair."""

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

ROOT = 0
# What a rank does whether or not the others are there.
WORK = frozenset((QKV, ATTENTION, OUTPUT_PROJECTION, FEED_FORWARD, EXCHANGE_COPY, LOGITS))
# As an engine without spans divides a step.
_COARSE = {part: EVAL for part in (*WORK, EMBEDDING, EVAL)} | {
    part: SYNC for part in (EXCHANGE_WIRE, EXCHANGE_WAIT, SYNC)
}


@dataclass(frozen=True, slots=True)
class Pair:
    """The parts of both sides of a pair, and by how much each phase counts in the metric."""

    base: tuple[PartTime, ...]
    new: tuple[PartTime, ...]
    weights: Mapping[str, float]  # by phase; a phase that is not there does not count


def pair_of(metric: str, base: Sample, new: Sample) -> Pair | None:
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
    return Pair(base.parts, new.parts, counts)


def comparable(pairs: Sequence[Pair]) -> list[Pair]:
    """All sides divided alike: as coarsely as the coarsest of them."""
    sides = [side for pair in pairs for side in (pair.base, pair.new)]
    if all(_is_fine(side) for side in sides):
        return list(pairs)
    return [Pair(_coarsened(pair.base), _coarsened(pair.new), pair.weights) for pair in pairs]


def _is_fine(parts: Iterable[PartTime]) -> bool:
    return any(part.part in WORK for part in parts)


def _coarsened(parts: Iterable[PartTime]) -> tuple[PartTime, ...]:
    return tuple(
        part.model_copy(update={"part": _COARSE.get(part.part, OTHER), "waited_for": None})
        for part in parts
        if part.rank == ROOT
    )


Key = tuple[str, ...]  # what a column of parts is told apart by
Columns = dict[Key, list[float]]  # ms that count in the metric, a value a pair


def columns(
    pairs: Sequence[Pair], side: Literal["base", "new"], key_of: Callable[[PartTime], Key | None]
) -> Columns:
    """Sums of parts with the same key; a part that a pair lacks is 0 there."""
    found: Columns = defaultdict(lambda: [0.0] * len(pairs))
    for i, pair in enumerate(pairs):
        for part in pair.base if side == "base" else pair.new:
            key = key_of(part)
            if key is not None and part.phase in pair.weights:
                found[key][i] += part.ms * pair.weights[part.phase]
    return dict(found)


def changes_of(base: Sequence[float], new: Sequence[float]) -> list[float]:
    """New less base, pair by pair."""
    return [n - b for b, n in zip(base, new, strict=True)]


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value."""
    return math.fsum(values) / len(values)


def growth(base: Sequence[float], new: Sequence[float]) -> float | None:
    """Relative change of the sum: 0.31 is 31 % slower; None where it took no time before."""
    before = math.fsum(base)
    return math.fsum(new) / before - 1 if before > 0 else None
