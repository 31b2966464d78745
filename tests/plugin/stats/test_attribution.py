"""Shares of parts: they add up, their intervals hold, the right part is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_dllama.stats.attribution import REST, attribute, changed_together, fieller, rank
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import clopper_pearson
from pytest_dllama.stats.prior import VariancePrior

NAMES = ("attention", "feed-forward", "exchange", "sampling")
STEP_MS = np.array([2.0, 5.0, 2.5, 0.5])


def drawn(
    seed: int, pairs: int, slower: dict[str, float], noise: float = 0.01
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Times of each part in base and new, the named ones slower by a factor."""
    rng = np.random.default_rng(seed)
    base, new = (
        {
            name: ms * factors.get(name, 1.0) * np.exp(noise * rng.standard_normal(pairs))
            for name, ms in zip(NAMES, STEP_MS, strict=True)
        }
        for factors in ({}, slower)
    )
    return base, new


def test_the_part_that_became_slower_is_first_and_named() -> None:
    found = attribute(*drawn(1, 6, {"feed-forward": 1.3}))
    first = found.parts[0]
    assert first.name == "feed-forward"
    assert first.is_named
    assert [part.name for part in found.parts if part.is_named] == ["feed-forward"]
    assert found.whole.mean == pytest.approx(0.15, abs=0.02)
    assert first.share.lower < first.share.value < first.share.upper
    assert first.share.value == pytest.approx(1, abs=0.05)
    assert first.pairs_to_name is not None
    assert first.pairs_to_name <= 6


def test_an_improvement_is_attributed_too() -> None:
    found = attribute(*drawn(2, 6, {"exchange": 0.5}))
    assert found.whole.mean < 0
    assert found.parts[0].name == "exchange"
    assert found.parts[0].is_named
    assert found.parts[0].share.value == pytest.approx(1, abs=0.15)


@given(st.integers(0, 1000), st.integers(2, 8))
def test_shares_and_contributions_add_up(seed: int, pairs: int) -> None:
    found = attribute(*drawn(seed, pairs, {"exchange": 1.4}))
    assert sum(part.share.value for part in found.parts) == pytest.approx(1.0)
    total = sum(part.contribution.mean for part in found.parts)
    assert total == pytest.approx(found.whole.mean)


def test_what_no_part_explains_is_the_rest() -> None:
    base, new = drawn(3, 6, {})
    wholes = [sum(side.values()) + other for side, other in ((base, 2.0), (new, 4.0))]
    found = attribute(base, new, (wholes[0], wholes[1]))
    assert found.parts[0].name == REST
    assert sum(part.share.value for part in found.parts) == pytest.approx(1.0)
    assert found.parts[0].contribution.mean == pytest.approx(2 / 12, rel=0.02)


def test_a_part_that_the_base_lacks_counts_from_zero() -> None:
    base, new = drawn(4, 5, {})
    new["waiting"] = np.full(5, 3.0)
    assert attribute(base, new).parts[0].name == "waiting"


def test_bounds_of_fieller_are_where_the_t_test_turns() -> None:
    rng = np.random.default_rng(5)
    whole = 0.1 + 0.02 * rng.standard_normal(6)
    part = 0.6 * whole + 0.01 * rng.standard_normal(6)
    found = fieller(part, whole)
    for share in (found.lower, found.upper):
        t = stats.ttest_1samp(part - share * whole, 0).statistic
        assert abs(t) == pytest.approx(stats.t.isf(0.05, 5), rel=1e-9)
    assert found.lower < found.value < found.upper


def test_fieller_covers_where_the_whole_is_uncertain() -> None:
    rng = np.random.default_rng(6)
    runs, covered = 2000, 0
    for _ in range(runs):
        part = 0.03 + 0.02 * rng.standard_normal(5)
        whole = part + 0.02 + 0.02 * rng.standard_normal(5)
        interval = fieller(part, whole)
        covered += interval.lower <= 0.6 <= interval.upper
    # Whole and part positive in truth: without end means every share, which covers.
    assert clopper_pearson(covered, runs, 0.999).upper >= 0.90


def test_no_change_has_shares_without_end() -> None:
    found = fieller([0.01, -0.01, 0.02], [0.02, -0.03, 0.0])
    assert (found.lower, found.upper) == (-math.inf, math.inf)


def test_quiet_runs_name_nothing_more_often_than_the_level() -> None:
    named = sum(
        any(part.is_named for part in attribute(*drawn(seed, 5, {})).parts) for seed in range(400)
    )
    assert clopper_pearson(named, 400, 0.999).lower <= 0.05


def test_half_a_percent_in_one_part_is_found_with_five_pairs() -> None:
    # 10 % of a part that is 5 % of the step, each part with 1 % noise and a prior of its own.
    priors = {
        name: VariancePrior(20.0, (ms / STEP_MS.sum() * 0.01 * math.sqrt(2)) ** 2, 100, 400.0)
        for name, ms in zip(NAMES, STEP_MS, strict=True)
    }
    runs, named = 200, 0
    for seed in range(runs):
        base, new = drawn(seed, 5, {"sampling": 1.1})
        parts = {part.name: part for part in attribute(base, new, priors=priors).parts}
        named += parts["sampling"].is_named and parts["sampling"].contribution.mean > 0
    assert clopper_pearson(named, runs, 0.999).lower >= 0.95


@given(st.floats(0.5, 20.0))
def test_the_unit_does_not_matter(unit: float) -> None:
    base, new = drawn(7, 4, {"attention": 1.2})
    one = attribute(base, new)
    other = attribute(
        {name: row * unit for name, row in base.items()},
        {name: row * unit for name, row in new.items()},
    )
    assert [p.name for p in one.parts] == [p.name for p in other.parts]
    assert other.parts[0].p == pytest.approx(one.parts[0].p)


def test_bad_numbers_are_named() -> None:
    with pytest.raises(DataError, match="parts of base with no pairs"):
        attribute({}, {"a": [1.0, 2.0]})
    with pytest.raises(DataError, match="2 pairs of base and 3 of new"):
        attribute({"a": [1.0, 2.0]}, {"a": [1.0, 2.0, 3.0]})
    with pytest.raises(DataError, match="the base's whole is 0 in a pair; it must be above 0"):
        attribute({"a": [0.0, 2.0]}, {"a": [1.0, 2.0]})
    with pytest.raises(DataError, match="wholes of 3 and 3 pairs, parts of 2"):
        attribute({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}, ([1, 2, 3], [1, 2, 3]))
    with pytest.raises(DataError, match="parts with no pairs"):
        rank({})


def test_what_changed_together_is_told_from_what_did_not() -> None:
    up, same = [0.31, 0.29, 0.90], [0.02, -0.03, 0.40]  # a hiccup each in the last pair
    assert changed_together({"a": same, "b": up})[0] == ("b",)
    names, mean = changed_together({"a": up, "b": [0.3, 0.3, 0.3], "c": same})
    assert set(names) == {"a", "b"}
    assert mean == pytest.approx([0.305, 0.295, 0.6])
    assert set(changed_together({"a": up, "b": up})[0]) == {"a", "b"}
    with pytest.raises(DataError, match="the same number"):
        changed_together({"a": up, "b": [0.1]})
