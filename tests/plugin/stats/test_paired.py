"""The moderated paired t and the table of verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.stats.decision import Decision, decide, decisions, theta_of
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import clopper_pearson
from pytest_dllama.stats.paired import bounds, ln_ratios, moderated, paired_effect
from pytest_dllama.stats.prior import VariancePrior

# Student (1908), "The probable error of a mean": additional sleep with two drugs, ten patients.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
PRIOR = VariancePrior(d0=8.0, s0_squared=0.028**2, groups=100, total_df=300.0)
THETA = theta_of(0.05)

values = st.lists(st.floats(0.5, 2.0), min_size=2, max_size=10)
changes = st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=10)


def test_plain_t_of_students_own_data() -> None:
    effect = paired_effect(SLEEP)
    assert effect.mean == pytest.approx(1.58)
    assert effect.mean / (effect.sd / math.sqrt(10)) == pytest.approx(4.0621, abs=1e-4)
    assert effect.p_worse(0.0) == pytest.approx(0.001416, abs=1e-6)
    assert effect.df == 9
    assert effect.is_provisional


def test_two_sided_95_percent_interval_of_students_data() -> None:
    effect = paired_effect(SLEEP, level=0.025)
    assert (effect.lower, effect.upper) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_moderated_variance_by_hand() -> None:
    effect = paired_effect([0.01, 0.03, 0.02], PRIOR)
    variance = (8 * 0.028**2 + 2 * 1e-4) / 10
    assert effect.s_tilde == pytest.approx(math.sqrt(variance))
    assert effect.df == 10
    reach = 1.812461 * math.sqrt(variance / 3)  # t(0.95, 10)
    assert (effect.lower, effect.upper) == pytest.approx((0.02 - reach, 0.02 + reach), abs=1e-7)
    assert not effect.is_provisional


def test_no_more_degrees_than_the_calibration_has() -> None:
    assert moderated(1.0, 2, VariancePrior(50.0, 1.0, 20, 40.0))[1] == 40.0
    s_squared, df = moderated(5.0, 2, VariancePrior(math.inf, 1.0, 20, 40.0))
    assert (s_squared, df) == (1.0, 40.0)


@given(values, st.randoms(use_true_random=False))
def test_swapping_sides_turns_the_sign(base: list[float], random: object) -> None:
    new = [x * random.uniform(0.8, 1.2) for x in base]  # type: ignore[attr-defined]
    one, other = (
        paired_effect(ln_ratios(base, new), PRIOR),
        paired_effect(ln_ratios(new, base), PRIOR),
    )
    assert (one.lower, one.upper) == pytest.approx((-other.upper, -other.lower))
    assert one.p_worse(THETA) == pytest.approx(other.p_not_worse(-THETA))


@given(values, st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(base: list[float], unit: float) -> None:
    new = [x * 1.07 for x in reversed(base)]
    scaled = ln_ratios([x * unit for x in base], [x * unit for x in new])
    assert scaled == pytest.approx(ln_ratios(base, new), abs=1e-12)


@given(values)
def test_higher_is_better_is_judged_as_its_inverse(base: list[float]) -> None:
    new = [x * 0.9 for x in base]
    rates = ln_ratios(base, new, higher_is_better=True)
    times = ln_ratios([1 / x for x in base], [1 / x for x in new])
    assert rates == pytest.approx(times)
    assert paired_effect(rates).change == pytest.approx(1 / 0.9 - 1)


def test_the_limit_of_higher_is_better_is_base_over_one_plus_delta() -> None:
    base, nearly = [100.0] * 3, [100 / 1.0501] * 3
    exact = paired_effect(ln_ratios(base, nearly, higher_is_better=True))
    assert decide(exact, THETA) is Decision.REGRESSED
    inside = paired_effect(ln_ratios(base, [100 / 1.0499] * 3, higher_is_better=True))
    assert decide(inside, THETA) is Decision.PASS


ORDER = [Decision.IMPROVED, Decision.PASS, Decision.INCONCLUSIVE, Decision.REGRESSED]


@given(changes, st.floats(0, 0.5), st.floats(0, 0.2))
def test_a_worse_change_never_gets_a_better_verdict(
    d: list[float], worse: float, theta: float
) -> None:
    # Between IMPROVED and PASS only the upper bound decides, between PASS and the rest too, and
    # REGRESSED needs the lower bound: all rise with the mean.
    before = decide(paired_effect(d, PRIOR), theta)
    after = decide(paired_effect([x + worse for x in d], PRIOR), theta)
    assert ORDER.index(after) >= ORDER.index(before)


@given(changes, st.floats(0, 0.2))
def test_the_verdict_agrees_with_the_p(d: list[float], theta: float) -> None:
    effect = paired_effect(d, PRIOR)
    gap = min(abs(effect.lower - theta), abs(effect.upper - theta), abs(effect.upper + theta))
    if gap < 1e-9:
        return
    verdict = decide(effect, theta)
    assert (verdict is Decision.REGRESSED) == (effect.p_worse(theta) < effect.level)
    passes = effect.p_not_worse(theta) < effect.level
    assert (verdict in (Decision.PASS, Decision.IMPROVED)) == passes


def test_verdicts_are_plain_words() -> None:
    words = decisions([0.06, -0.01, -0.3, -0.1], [0.1, 0.01, -0.1, 0.1], 0.05).tolist()
    assert words == ["REGRESSED", "PASS", "IMPROVED", "INCONCLUSIVE"]


def test_the_false_rate_is_the_level_for_variances_of_the_prior() -> None:
    rng = np.random.default_rng(1)
    cells = 20_000
    sd = 0.028 * np.sqrt(8 / rng.chisquare(8, cells))
    d = THETA + sd[:, np.newaxis] * rng.standard_normal((cells, 3))
    s_squared, df = moderated(d.var(axis=1, ddof=1), 2, PRIOR)
    lower, upper = bounds(d.mean(axis=1), s_squared, 3, df, 0.05)
    for wrong in ((lower > THETA).sum(), (upper < THETA).sum()):
        found = clopper_pearson(int(wrong), cells, 0.999)
        assert found.lower <= 0.05 <= found.upper


def test_pairs_without_noise_are_decided() -> None:
    same = paired_effect([0.0, 0.0, 0.0])
    assert decide(same, THETA) is Decision.PASS
    assert same.p_worse(THETA) == 1.0
    assert paired_effect([0.1] * 3).p_worse(0.0) < 1e-6


def test_bad_numbers_are_named() -> None:
    with pytest.raises(DataError, match="pairs: 1 values, at least 2 are needed"):
        paired_effect([0.1], PRIOR)
    with pytest.raises(DataError, match="2 values of base and 1 of new: no pairs"):
        ln_ratios([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="level is 0; it must lie between 0 and 1"):
        paired_effect([0.1, 0.2], PRIOR, 0.0)
    with pytest.raises(DataError, match=r"tolerated change -0\.1: it must be 0 or more"):
        theta_of(-0.1)
    with pytest.raises(DataError, match=r"theta -0\.1"):
        decisions(0.0, 0.0, -0.1)
