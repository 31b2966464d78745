"""The plan of looks: its level is Pocock's, and it holds what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import clopper_pearson
from pytest_dllama.stats.looks import DECLARED, Plan, nominal_level, stays_below
from pytest_dllama.stats.paired import paired_effect
from pytest_dllama.stats.power import detectable_change, pairs_needed, pairs_to_decide, reach
from pytest_dllama.stats.prior import VariancePrior

PRIOR = VariancePrior(d0=8.0, s0_squared=0.028**2, groups=100, total_df=300.0)


def any_look_rate(pairs: tuple[int, ...], level: float, cells: int = 100_000) -> tuple[int, int]:
    """How often noise of known variance crosses the level at any look."""
    z = np.random.default_rng(1).standard_normal((cells, pairs[-1])).cumsum(axis=1)
    limit = stats.norm.isf(level)
    crossed = [z[:, n - 1] / np.sqrt(n) > limit for n in pairs]
    return int(np.any(crossed, axis=0).sum()), cells


# Pocock's critical values of equally spaced looks for a two-sided 0.10 (Jennison & Turnbull 2000,
# table 2.1): the bound on one side alone has 0.05, since no run crosses both.
@pytest.mark.parametrize(("looks", "z"), [(2, 1.875), (3, 1.992), (4, 2.067), (5, 2.122)])
def test_pococks_own_constants(looks: int, z: float) -> None:
    pairs = tuple(range(3, 3 * looks + 1, 3))
    assert nominal_level(pairs) == pytest.approx(stats.norm.sf(z), abs=1.5e-4)


@pytest.mark.parametrize("pairs", [DECLARED, (39, 40), (3, 99, 100)])
def test_quadrature_is_scipys_multivariate_normal(pairs: tuple[int, ...]) -> None:
    n = np.array(pairs, dtype=float)
    correlation = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))
    joint = stats.multivariate_normal(np.zeros(n.size), correlation, seed=1)
    assert stays_below(pairs, 2.0) == pytest.approx(joint.cdf(np.full(n.size, 2.0)), abs=5e-5)


def test_the_declared_level() -> None:
    assert Plan() == Plan((3, 5, 7, 10), 0.05)
    assert Plan().level == 0.0199


@pytest.mark.parametrize("pairs", [DECLARED, (2, 4), (3, 6, 12, 24), (5, 6, 7, 8, 9, 10)])
def test_all_looks_together_keep_the_level(pairs: tuple[int, ...]) -> None:
    found = clopper_pearson(*any_look_rate(pairs, nominal_level(pairs)), confidence=0.999)
    assert found.lower <= 0.05
    assert found.upper >= 0.049  # not wasteful either


def test_one_look_uses_the_whole_level() -> None:
    assert Plan((5,)).level == 0.05
    assert Plan((5,), 0.01).level == 0.01


@settings(max_examples=15)
@given(st.sets(st.integers(2, 40), min_size=2, max_size=4))
def test_the_level_lies_between_bonferroni_and_one_look(pairs: set[int]) -> None:
    level = nominal_level(tuple(sorted(pairs)))
    assert 0.05 / len(pairs) - 1e-4 <= level <= 0.05


@pytest.mark.parametrize("pairs", [(), (1, 3), (3, 3), (5, 3)])
def test_a_plan_that_is_none_says_what_one_is(pairs: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"looks after .* pairs: .* as in 3,5,7,10"):
        Plan(pairs)


def test_detectable_change_by_hand() -> None:
    # exp(ln 1.05 + (t(0.95, 10) + t(0.90, 10)) 0.028 / sqrt 3) - 1
    t = 1.812461 + 1.372184
    expected = 1.05 * np.exp(t * 0.028 / np.sqrt(3)) - 1
    assert detectable_change(3, 0.028, np.log(1.05), PRIOR) == pytest.approx(expected, rel=1e-6)


def test_detectable_change_is_found_with_its_power() -> None:
    rng = np.random.default_rng(2)
    change = detectable_change(5, 0.028, 0.0, PRIOR)
    sd = 0.028  # the variance that planning expects; t quantiles make the power a little cautious
    d = np.log1p(change) + sd * rng.standard_normal((1500, 5))
    found = sum(paired_effect(row, PRIOR).lower > 0 for row in d)
    assert clopper_pearson(found, 1500, 0.999).upper >= 0.90


@given(st.integers(2, 50), st.floats(0.001, 0.2), st.sampled_from([None, PRIOR]))
def test_more_pairs_and_less_noise_find_smaller_changes(
    n: int, sd: float, prior: VariancePrior | None
) -> None:
    assert reach(n + 1, sd, prior, 0.05, 0.9) < reach(n, sd, prior, 0.05, 0.9)
    assert reach(n, sd / 2, prior, 0.05, 0.9) < reach(n, sd, prior, 0.05, 0.9)


@given(st.floats(0.005, 0.3), st.floats(0.005, 0.1), st.sampled_from([None, PRIOR]))
def test_pairs_needed_is_the_least(distance: float, sd: float, prior: VariancePrior | None) -> None:
    n = pairs_needed(distance, sd, prior)
    assert n is not None
    assert reach(n, sd, prior, 0.05, 0.9) <= distance
    assert n == 2 or reach(n - 1, sd, prior, 0.05, 0.9) > distance


def test_an_effect_on_the_limit_is_never_decided() -> None:
    effect = paired_effect([0.04, 0.05, 0.06], PRIOR)
    assert pairs_to_decide(effect, 0.05, PRIOR) is None
    far = pairs_to_decide(effect, 0.0, PRIOR)
    near = pairs_to_decide(effect, 0.03, PRIOR)
    assert far is not None
    assert near is not None
    assert far < near


def test_one_pair_finds_nothing() -> None:
    with pytest.raises(DataError, match=r"1 pairs with a standard deviation of 0\.02: two pairs"):
        detectable_change(1, 0.02, 0.05)
