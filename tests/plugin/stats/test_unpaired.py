"""Against stored values: what nights cost, and Welch's test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.stats.decision import Decision, decide, theta_of
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import clopper_pearson
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.stats.unpaired import NightNoise, against_stored, night_noise, welch

THETA = theta_of(0.05)
QUIET = NightNoise(0.005, 40)
PRIOR = VariancePrior(d0=8.0, s0_squared=0.02**2, groups=100, total_df=300.0)
STORED = [100.0, 102.0, 101.0, 99.0]

# Student's sleep data as two groups, in R: t.test(extra ~ group)
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_welch_is_rs() -> None:
    found = welch(np.exp(DRUG_2), np.exp(DRUG_1))
    assert found.df == pytest.approx(17.776, abs=1e-3)
    assert found.p == pytest.approx(0.07939, abs=1e-5)
    assert math.log(found.ratio.lower) == pytest.approx(-3.3654832, abs=1e-6)
    assert math.log(found.ratio.upper) == pytest.approx(0.2054832, abs=1e-6)


def test_welch_without_noise() -> None:
    assert welch([2.0, 2.0], [2.0, 2.0]).p == 1.0
    assert welch([2.0, 2.0], [4.0, 4.0]).p == 0.0


def test_without_nights_nothing_is_decided() -> None:
    effect = against_stored(STORED, [2 * x for x in STORED], None, PRIOR)
    assert effect.change == pytest.approx(1.0)
    assert decide(effect, THETA) is Decision.INCONCLUSIVE
    assert effect.night is None


def test_with_quiet_nights_a_large_change_is_decided() -> None:
    slower, faster = [1.2 * x for x in STORED], [x / 1.2 for x in STORED]
    assert decide(against_stored(STORED, slower, QUIET, PRIOR), THETA) is Decision.REGRESSED
    assert decide(against_stored(STORED, faster, QUIET, PRIOR), THETA) is Decision.IMPROVED
    assert decide(against_stored(STORED, STORED, QUIET, PRIOR), THETA) is Decision.PASS
    rates = against_stored(STORED, slower, QUIET, PRIOR, higher_is_better=True)
    assert decide(rates, THETA) is Decision.IMPROVED


def test_error_by_hand() -> None:
    effect = against_stored(STORED, STORED, NightNoise(0.01, 21), PRIOR)
    own = 2 * np.log(STORED).var(ddof=1)  # variance of a pair
    s_squared = (8 * 0.02**2 + 6 * own) / 14
    sessions, nights = s_squared * (1 / 4 + 1 / 4) / 2, 2 * 0.01**2
    assert effect.error == pytest.approx(math.sqrt(sessions + nights))
    df = (sessions + nights) ** 2 / (sessions**2 / 14 + nights**2 / 20)
    assert effect.df == pytest.approx(df)


@given(st.floats(0.001, 0.1), st.floats(1.1, 4.0))
def test_restless_nights_widen(sd: float, factor: float) -> None:
    one = against_stored(STORED, STORED, NightNoise(sd, 40), PRIOR)
    other = against_stored(STORED, STORED, NightNoise(sd * factor, 40), PRIOR)
    assert other.upper > one.upper


def test_the_false_rate_over_nights() -> None:
    rng = np.random.default_rng(1)
    wrong, runs = 0, 1500
    for _ in range(runs):
        night = night_noise(0.03 * rng.standard_normal(20))
        sides = np.exp(0.03 * rng.standard_normal((2, 1)) + 0.014 * rng.standard_normal((2, 4)))
        effect = against_stored(sides[0], sides[1] * 1.05, night)
        wrong += decide(effect, THETA) is Decision.REGRESSED
    assert clopper_pearson(wrong, runs, 0.999).lower <= 0.05


def test_ten_nights_make_a_deviation() -> None:
    assert night_noise(range(9)) is None
    found = night_noise(range(10))
    assert found is not None
    assert found.sd == pytest.approx(np.std(range(10), ddof=1))
    assert found.nights == 10


def test_bad_numbers_are_named() -> None:
    with pytest.raises(DataError, match="stored: 1 values, at least 2 are needed"):
        against_stored([1.0], STORED, QUIET)
    with pytest.raises(DataError, match="new: value 1 of 2 is -1; ratios need values above 0"):
        welch(STORED, [-1.0, 2.0])
