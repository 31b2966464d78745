"""The work that a change comes from: on one rank, on some, or on all of them.

Ranks work in step: what one of them does more slowly, the others wait for. Waiting is therefore
never a cause here. Each kind of work is looked at by itself, by ratios of pairs, for noise
multiplies times; the cause is the kind that surely became slower by the most time.

Where ranks share cores or a machine is busy, waiting grows by many times what was to be waited for
and by chance; own work hardly feels that. So a small sure change of work may explain a large one
of waiting.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pytest_dllama.metrics.parts import EXCHANGE_WAIT, EXCHANGE_WIRE, SYNC
from pytest_dllama.record.cell import PartTime
from pytest_dllama.record.verdict import Cause
from pytest_dllama.stats.attribution import changed_together, mean_of
from pytest_dllama.stats.errors import DataError, Floats
from pytest_dllama.stats.intervals import holm
from pytest_dllama.stats.paired import PairedEffect, ln_ratios, paired_effect
from pytest_dllama.stats.power import POWER, pairs_needed
from pytest_dllama.stats.prior import VariancePrior, fit_prior, groups_of
from pytest_dllama.verdict.parts.columns import Columns, Key, Pair, columns

_NOT_WORK = frozenset((EXCHANGE_WAIT, EXCHANGE_WIRE, SYNC))  # it depends on the others
_LEVEL = 0.05  # one-sided: of "this kind of work did not change that way"
_FEWEST_GROUPS = 8  # kinds of work, all ranks together, that tell how much one of them varies
# Of a metric's change: from here on a kind of work that surely changed is its cause ...
_EXPLAINS = 0.1
# ... or from here on where it became much slower itself. Less than that may be an effect of the
# waiting: whoever sleeps longer comes back to colder caches and a slower clock.
_HINTS, _MUCH = 0.02, 0.25

Ratios = Mapping[str, Floats]  # rank -> ln(new / base) of one kind of work, (pairs,)


@dataclass(frozen=True, slots=True)
class _Grown:
    """One kind of work and the ranks on which it went the metric's way."""

    phase: str
    part: str
    ranks: tuple[str, ...]
    effect: PairedEffect  # of ln ratios, sign turned so that plus is the metric's direction
    base_ms: float  # of the side where it takes less, on the rank where it takes longest

    @property
    def surely_ms(self) -> float:
        """By how much at least it changed."""
        return self.base_ms * math.expm1(self.effect.lower)

    @property
    def likely_ms(self) -> float:
        """By how much it probably changed."""
        return self.base_ms * abs(math.expm1(self.effect.mean))


def find_cause(pairs: Sequence[Pair], whole_ms: float, phase: str | None = None) -> Cause | None:
    """The work that surely changed in the metric's direction, by the most time.

    Args:
        pairs: two or more.
        whole_ms: mean change of the metric, or of the phase's part of it; its sign is the
            direction.
        phase: only work of this phase; None: of all that count in the metric.
    """
    direction = math.copysign(1.0, whole_ms)
    before, after = columns(pairs, "base", _own), columns(pairs, "new", _own)
    by_kind = _ratios(before, after, direction)
    prior = _prior(by_kind)
    found = [
        _grown(kind, ratios, before if direction > 0 else after, prior)
        for kind, ratios in by_kind.items()
        if phase in (None, kind[0])
    ]
    sure = [
        each
        for each in found
        if each.effect.lower > 0 and each.likely_ms >= _least(each) * abs(whole_ms)
    ]
    if not sure:
        return None
    best = max(sure, key=lambda each: each.surely_ms)
    told = _told(best, direction, len(by_kind[best.phase, best.part]))
    return told.model_copy(update={"also": _company(best, found)})


def _company(best: _Grown, found: Sequence[_Grown]) -> tuple[str, ...]:
    """Other work that surely changed on the same ranks, by half as much or more, in ln."""
    alike = [
        each
        for each in found
        if each is not best
        and (each.phase, set(each.ranks)) == (best.phase, set(best.ranks))
        and each.effect.lower > 0
        and each.effect.mean >= best.effect.mean / 2
    ]
    return tuple(each.part for each in sorted(alike, key=lambda each: -each.surely_ms))


def _told(grown: _Grown, direction: float, ranks: int) -> Cause:
    """For the record; `ranks` is how many do such work."""
    return Cause.model_validate(
        {
            "phase": grown.phase,
            "part": grown.part,
            "ranks": sorted(map(int, grown.ranks)),
            "is_everywhere": len(grown.ranks) == ranks,
            "change": math.expm1(direction * grown.effect.mean),
            "effect_ms": direction * grown.likely_ms,
        }
    )


@dataclass(frozen=True, slots=True)
class WorkChange:
    """How sure it is that one kind of work changed, whatever the metric did."""

    change: Cause
    p: float  # two-sided, of "it did not change", Holm-adjusted over all kinds of work
    is_sure: bool
    pairs_to_be_sure: int | None  # with 90 % power, of what its change and noise look like


def work_changes(pairs: Sequence[Pair], level: float = _LEVEL) -> list[WorkChange]:
    """Each kind of work that counts in the metric, the surest change first; two pairs or more.

    A change of half a percent of the metric is lost in its noise; in a small part of the step it
    is a large change of that part (FBDetect, SOSP 2024).
    """
    before, after = columns(pairs, "base", _own), columns(pairs, "new", _own)
    by_kind = _ratios(before, after, 1.0)
    prior = _prior(by_kind)
    found = [_surest(ratios, prior) for ratios in by_kind.values()]
    adjusted = holm([p for _, p, _ in found])
    changes = []
    for (kind, ratios), (effect, _, tests), p in zip(by_kind.items(), found, adjusted, strict=True):
        way = math.copysign(1.0, effect.mean)
        turned = {rank: way * row for rank, row in ratios.items()}
        grown = _grown(kind, turned, before if way > 0 else after, prior)
        each = level / (2 * tests * len(found))  # Holm's first step, which the surest must take
        needed = pairs_needed(effect.mean, effect.s_tilde, prior, each, POWER)
        told = _told(grown, way, len(ratios))
        changes.append(WorkChange(told, float(p), bool(p < level), needed))
    return sorted(changes, key=lambda change: change.p)


def _surest(ratios: Ratios, prior: VariancePrior | None) -> tuple[PairedEffect, float, int]:
    """Of one kind of work: each rank is tested alone, and all of them together.

    Returns:
        The effect that is surest, its two-sided p with Bonferroni over these tests, and how many
        tests they are.
    """
    rows = list(ratios.values())
    rows += [mean_of(rows)] if len(rows) > 1 else []
    effects = [paired_effect(row, prior, _LEVEL) for row in rows]
    ps = [2 * min(each.p_worse(0.0), each.p_not_worse(0.0)) for each in effects]
    best = min(range(len(rows)), key=ps.__getitem__)
    return effects[best], min(ps[best] * len(rows), 1.0), len(rows)


def _own(part: PartTime) -> Key | None:
    return None if part.part in _NOT_WORK else (part.phase, part.part, str(part.rank))


def _ratios(
    before: Columns, after: Columns, direction: float
) -> dict[tuple[str, str], dict[str, Floats]]:
    """By kind of work and rank; what takes no time in a session has no ratio."""
    found: dict[tuple[str, str], dict[str, Floats]] = defaultdict(dict)
    for phase, part, rank in sorted(before.keys() & after.keys()):
        base, new = before[phase, part, rank], after[phase, part, rank]
        if min(*base, *new) > 0:
            found[phase, part][rank] = direction * ln_ratios(base, new)
    return found


def _prior(by_kind: Mapping[tuple[str, str], Ratios]) -> VariancePrior | None:
    """All kinds of work together know how much one of them varies (limma's use of the prior)."""
    groups = [
        group for ratios in by_kind.values() for row in ratios.values() for group in groups_of(row)
    ]
    try:
        return fit_prior(groups, at_least=_FEWEST_GROUPS)
    except DataError:  # most of them do not vary at all
        return None


def _grown(
    kind: tuple[str, str], ratios: Ratios, base: Columns, prior: VariancePrior | None
) -> _Grown:
    ranks, together = changed_together(ratios)
    base_ms = max(median(base[(*kind, rank)]) for rank in ranks)
    return _Grown(*kind, ranks, paired_effect(together, prior, _LEVEL), base_ms)


def _least(grown: _Grown) -> float:
    """The share of a metric's change that a kind of work must have, to be its cause."""
    return _HINTS if abs(math.expm1(grown.effect.mean)) >= _MUCH else _EXPLAINS
