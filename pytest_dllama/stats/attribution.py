"""Which part of a step a change sits in: each part's share of the whole effect, with an interval.

A part's contribution is (new part - base part) / base whole, pair by pair, so contributions of all
parts add up to the relative change of the whole, and shares to 1. The interval of a share is
Fieller's (1954), of the ratio of two paired means: the delta method fails where the whole is not
far from zero, and there Fieller's interval says so by having no end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pytest_dllama.stats.errors import DataError, Floats, finite, probability
from pytest_dllama.stats.intervals import Interval, holm
from pytest_dllama.stats.paired import PairedEffect, paired_effect
from pytest_dllama.stats.power import POWER, pairs_needed
from pytest_dllama.stats.prior import VariancePrior

REST = "rest"  # what the whole did and no part explains


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the whole."""

    name: str
    contribution: PairedEffect  # relative to the base whole; not a logarithm
    share: Interval  # of the whole effect; without end where the whole is too uncertain
    p: float  # of "this part did not change": two-sided, Holm-adjusted over all parts
    is_named: bool  # surely changed: p below the level; the contribution's sign says which way
    pairs_to_name: int | None  # with 90 % power, if effect and noise are what they look like


@dataclass(frozen=True, slots=True)
class Attribution:
    """Parts by falling share, and the whole."""

    whole: PairedEffect  # relative to the base whole; not a logarithm
    parts: tuple[Part, ...]


def attribute(
    base: Mapping[str, ArrayLike],
    new: Mapping[str, ArrayLike],
    wholes: tuple[ArrayLike, ArrayLike] | None = None,
    priors: Mapping[str, VariancePrior] | None = None,
    level: float = 0.05,
) -> Attribution:
    """Rank the parts of paired runs by how much of the whole change each carries.

    Each array has shape (pairs,) and the parts' unit (ms, say); a part that one side lacks is 0
    there. `wholes` are of base and new; what the parts leave of them is the part `REST`. Without
    them the parts' sum is the whole. `priors` are of contributions, from A/A pairs, by part.

    Raises:
        DataError: fewer than 2 pairs, lengths that differ, a base whole not above 0.
    """
    names = sorted(base.keys() | new.keys())
    before, after = _table(base, names, "base"), _table(new, names, "new")  # (parts, pairs)
    if before.shape != after.shape:
        raise DataError(
            f"{before.shape[1]} pairs of base and {after.shape[1]} of new: each part needs both"
        )
    total = before.sum(axis=0)
    differences = dict(zip(names, after - before, strict=True))
    if wholes is not None:
        total, new_total = (finite(side, "whole", at_least=2) for side in wholes)
        if not total.size == new_total.size == before.shape[1]:
            raise DataError(
                f"wholes of {total.size} and {new_total.size} pairs, parts of {before.shape[1]}"
            )
        differences[REST] = (new_total - total) - (after - before).sum(axis=0)
    if np.any(total <= 0):
        raise DataError(f"the base's whole is {total.min():g} in a pair; it must be above 0")
    return rank({name: row / total for name, row in differences.items()}, priors, level)


def rank(
    contributions: Mapping[str, ArrayLike],
    priors: Mapping[str, VariancePrior] | None = None,
    level: float = 0.05,
) -> Attribution:
    """As `attribute`, from each part's contributions, shape (pairs,), which add up to the whole.

    Raises:
        DataError: no part, fewer than 2 pairs, lengths that differ.
    """
    known = priors or {}
    rows = {name: finite(row, name, at_least=2) for name, row in contributions.items()}
    whole_row = _whole(rows)
    whole = paired_effect(whole_row, None, level)
    direction = math.copysign(1.0, whole.mean)
    effects = {name: paired_effect(row, known.get(name), level) for name, row in rows.items()}
    adjusted = holm([_p_changed(effect) for effect in effects.values()])
    parts = [
        Part(
            name=name,
            contribution=effect,
            share=fieller(rows[name], whole_row, level),
            p=float(p),
            is_named=bool(p < level),
            # Bonferroni: the first step of Holm, which a part that stands out alone must take.
            pairs_to_name=pairs_needed(
                effect.mean, effect.s_tilde, known.get(name), level / (2 * len(rows)), POWER
            ),
        )
        for (name, effect), p in zip(effects.items(), adjusted, strict=True)
    ]
    parts.sort(key=lambda part: (-part.contribution.mean * direction, part.name))
    return Attribution(whole, tuple(parts))


def fieller(part: ArrayLike, whole: ArrayLike, level: float = 0.05) -> Interval:
    """mean(part) / mean(whole) over pairs, with Fieller's bounds at one-sided `level` each.

    The shares r for which a paired t does not reject mean(part - r whole) = 0. Where the whole
    itself is not surely different from 0 every share is possible: bounds without end.

    Raises:
        DataError: fewer than 2 pairs, lengths that differ.
    """
    p, w = finite(part, "part", at_least=2), finite(whole, "whole", at_least=2)
    if p.size != w.size:
        raise DataError(f"{p.size} pairs of a part and {w.size} of the whole")
    mean_p, mean_w = float(p.mean()), float(w.mean())
    share = mean_p / mean_w if mean_w else math.nan
    ((pp, pw), (_, ww)) = np.cov(p, w)
    scale = float(stats.t.isf(probability(level, "level"), p.size - 1)) ** 2 / p.size
    a, b, c = mean_w**2 - scale * ww, mean_p * mean_w - scale * pw, mean_p**2 - scale * pp
    if a <= 0:
        return Interval(share, -math.inf, math.inf)
    root = math.sqrt(max(b * b - a * c, 0.0))  # rounding alone makes it negative
    return Interval(share, float((b - root) / a), float((b + root) / a))


def changed_together(changes: Mapping[str, ArrayLike]) -> tuple[tuple[str, ...], Floats]:
    """Which of several series changed by one and the same amount, the others not at all.

    Of all such divisions the one with the least absolute deviations, so that a single hiccup
    decides nothing. Only changes above 0 are looked for: turn the sign for the others.

    Args:
        changes: of each series, shape (pairs,).

    Returns:
        Names of those that changed, the most changed first, and their mean, shape (pairs,).

    Raises:
        DataError: no series, lengths that differ.
    """
    rows = {name: finite(row, name, at_least=1) for name, row in changes.items()}
    _whole(rows)  # the lengths
    order = sorted(rows, key=lambda name: -float(np.median(rows[name])))
    costs = []
    for n in range(1, len(order) + 1):
        changed = np.concatenate([rows[name] for name in order[:n]])
        rest = sum(float(np.abs(rows[name]).sum()) for name in order[n:])
        costs.append(float(np.abs(changed - np.median(changed)).sum()) + rest)
    found = tuple(order[: 1 + costs.index(min(costs))])
    return found, mean_of([rows[name] for name in found])


def mean_of(rows: Sequence[Floats]) -> Floats:
    """The mean of at least one series, each of shape (pairs,), pair by pair."""
    return np.asarray(np.mean(rows, axis=0), dtype=np.float64)


def _table(parts: Mapping[str, ArrayLike], names: list[str], side: str) -> Floats:
    """Times of the named parts, shape (parts, pairs); 0 where this side has no such part."""
    rows = {name: finite(row, f"{side} {name}", at_least=2) for name, row in parts.items()}
    sizes = sorted({row.size for row in rows.values()})
    if len(sizes) != 1:
        raise DataError(f"parts of {side} with {sizes or 'no'} pairs: all need the same number")
    return np.array([rows.get(name, np.zeros(sizes[0])) for name in names])


def _whole(rows: Mapping[str, Floats]) -> Floats:
    sizes = sorted({row.size for row in rows.values()})
    if len(sizes) != 1:
        raise DataError(f"parts with {sizes or 'no'} pairs: all need the same number")
    return np.asarray(sum(rows.values(), start=np.zeros(sizes[0])), dtype=np.float64)


def _p_changed(effect: PairedEffect) -> float:
    """Two-sided: where the whole is buried in noise, its sign says nothing about a part's."""
    return min(2 * min(effect.p_worse(0.0), effect.p_not_worse(0.0)), 1.0)
