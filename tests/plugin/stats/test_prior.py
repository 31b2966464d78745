"""The prior of variances: its closed forms, and that it finds what made the variances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.prior import (
    VarianceGroup,
    VariancePrior,
    fit_prior,
    groups_of,
    missing_groups,
    trigamma_inverse,
)


def drawn_groups(seed: int, n: int, d0: float, s0: float) -> list[VarianceGroup]:
    """Groups of 3 to 6 pairs whose true variances follow the prior; d0 infinite: all s0^2."""
    rng = np.random.default_rng(seed)
    df = rng.integers(2, 6, n)
    true = s0**2 * (np.ones(n) if math.isinf(d0) else d0 / rng.chisquare(d0, n))
    variance = true * rng.chisquare(df) / df
    return [VarianceGroup(int(d), float(v)) for d, v in zip(df, variance, strict=True)]


@given(st.floats(1e-6, 1e6))
def test_trigamma_inverse(y: float) -> None:
    assert trigamma_inverse(float(special.polygamma(1, y))) == pytest.approx(y, rel=1e-6)


@pytest.mark.parametrize("d0", [3.0, 8.0, 20.0])
def test_finds_what_made_the_variances(d0: float) -> None:
    found = fit_prior(drawn_groups(1, 4000, d0, 0.028))
    assert found is not None
    assert found.d0 == pytest.approx(d0, rel=0.2)
    assert found.s0 == pytest.approx(0.028, rel=0.03)
    assert found.groups == 4000


def test_the_error_of_the_fit_shrinks_with_the_groups() -> None:
    few = [fit_prior(drawn_groups(seed, 40, 8.0, 0.02)) for seed in range(60)]
    many = [fit_prior(drawn_groups(seed, 1000, 8.0, 0.02)) for seed in range(60)]
    spread = [np.std([math.log(p.s0) for p in fits if p]) for fits in (few, many)]
    assert spread[1] < spread[0] / 3  # 5 by the square root of n


def test_equal_variances_are_worth_infinitely_many_degrees() -> None:
    groups = [VarianceGroup(3, 4e-4)] * 25
    found = fit_prior(groups)
    assert found is not None
    assert math.isinf(found.d0)  # they differ less than sampling alone would make them
    assert found.s0_squared == pytest.approx(4e-4)
    assert found.total_df == 75


def test_moments_by_hand() -> None:
    variance = np.array([1.0, 9.0] * 10) * 1e-4
    found = fit_prior([VarianceGroup(4, float(v)) for v in variance])
    assert found is not None
    e = np.log(variance) - special.digamma(2) + np.log(2)
    excess = np.var(e, ddof=1) - special.polygamma(1, 2)
    assert special.polygamma(1, found.d0 / 2) == pytest.approx(excess)
    logarithm = e.mean() + special.digamma(found.d0 / 2) - math.log(found.d0 / 2)
    assert found.s0_squared == pytest.approx(math.exp(logarithm))


def test_a_group_without_variance_does_not_rule_the_fit() -> None:
    groups = drawn_groups(3, 40, 8.0, 0.02)
    with_zero = fit_prior(groups, [VarianceGroup(2, 0.0)])
    floored = fit_prior(
        groups, [VarianceGroup(2, 1e-5 * float(np.median([g.variance for g in groups] + [0.0])))]
    )
    assert with_zero == floored


def test_under_twenty_groups_there_is_no_prior() -> None:
    groups = drawn_groups(4, 19, 8.0, 0.02)
    assert fit_prior(groups) is None
    assert missing_groups(groups) == 1
    assert fit_prior(groups, drawn_groups(5, 1, 8.0, 0.02)) is not None


def test_sources_are_fitted_together() -> None:
    groups = drawn_groups(6, 60, 8.0, 0.02)
    assert fit_prior(groups[:25], iter(groups[25:])) == fit_prior(groups)


@given(st.floats(0.1, 10.0))
def test_the_prior_has_the_scale_of_its_groups(factor: float) -> None:
    groups = drawn_groups(7, 40, 8.0, 0.02)
    scaled = [VarianceGroup(g.df, g.variance * factor**2) for g in groups]
    one, other = fit_prior(groups), fit_prior(scaled)
    assert one is not None
    assert other is not None
    assert other.d0 == pytest.approx(one.d0, rel=1e-6)
    assert other.s0 == pytest.approx(one.s0 * factor)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=80))
def test_groups_have_three_to_six_pairs_and_lose_none(differences: list[float]) -> None:
    groups = groups_of(differences)
    assert sum(group.df + 1 for group in groups) == len(differences)
    assert all(2 <= group.df <= 5 for group in groups)


def test_two_pairs_are_no_group() -> None:
    assert groups_of([0.1, 0.2]) == []


def test_bad_numbers_are_named() -> None:
    with pytest.raises(DataError, match="more than half of 30 groups of pairs have variance 0"):
        fit_prior([VarianceGroup(2, 0.0)] * 16 + [VarianceGroup(2, 1.0)] * 14)
    with pytest.raises(DataError, match="a variance of -1 with 2 degrees of freedom"):
        VarianceGroup(2, -1.0)
    with pytest.raises(DataError, match=r"prior with d0 0, s0\^2 1"):
        VariancePrior(0.0, 1.0, 20, 40.0)
    with pytest.raises(DataError, match="never -1"):
        trigamma_inverse(-1.0)
