"""A/A noise: what pairs can find."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.noise import lag1_correlation, pair_noise, sd_interval
from pytest_dllama.stats.power import detectable_change
from pytest_dllama.stats.prior import VariancePrior


def test_pair_noise() -> None:
    prior = VariancePrior(8.0, 0.028**2, 100, 300.0)
    d = 0.028 * np.random.default_rng(3).standard_normal(60)
    found = pair_noise(d, 0.05, prior)
    assert found.pairs == 60
    assert found.sd.lower < 0.028 < found.sd.upper
    assert found.sd.value == pytest.approx(d.std(ddof=1))
    assert list(found.detectable) == [3, 5, 10]
    assert found.detectable[3] > found.detectable[5] > found.detectable[10] > 0.05
    s_tilde = math.sqrt((8 * 0.028**2 + 59 * d.var(ddof=1)) / 67)
    assert found.detectable[5] == pytest.approx(detectable_change(5, s_tilde, 0.05, prior))


def test_interval_of_a_deviation() -> None:
    found = sd_interval(1.0, 10)  # chi^2(0.975, 10) = 20.4832, chi^2(0.025, 10) = 3.24697
    assert found.lower == pytest.approx(math.sqrt(10 / 20.4832), rel=1e-5)
    assert found.upper == pytest.approx(math.sqrt(10 / 3.24697), rel=1e-5)


def test_lag1() -> None:
    assert lag1_correlation([1, -1, 1, -1, 1, -1]) == pytest.approx(-5 / 6)
    assert lag1_correlation([1, 2, 3]) is None
    assert lag1_correlation([1, 1, 1, 1, 1]) is None


def test_bad_numbers_are_named() -> None:
    with pytest.raises(DataError, match="A/A pairs: 1 values, at least 2 are needed"):
        pair_noise([0.1], 0.05)
