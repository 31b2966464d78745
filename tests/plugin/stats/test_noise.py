"""A/A noise: what pairs can find, and whether new workers add to it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import clopper_pearson
from pytest_dllama.stats.noise import generation_noise, lag1_correlation, pair_noise, sd_interval
from pytest_dllama.stats.power import detectable_change
from pytest_dllama.stats.prior import VariancePrior

# Davies (1947), "Statistical Methods in Research and Production": yield of dyestuff, six batches.
DYESTUFF = [
    [1545, 1440, 1440, 1520, 1580],
    [1540, 1555, 1490, 1560, 1495],
    [1595, 1550, 1605, 1510, 1560],
    [1445, 1440, 1595, 1465, 1545],
    [1595, 1630, 1515, 1635, 1625],
    [1520, 1455, 1450, 1480, 1445],
]


def test_components_of_variance_of_dyestuff() -> None:
    found = generation_noise(DYESTUFF)
    assert found.within_variance == pytest.approx(2451.25)
    assert found.between_variance == pytest.approx(1764.05)
    assert found.p == pytest.approx(0.0044, abs=1e-4)
    assert not found.may_live_on()


def test_the_bound_of_the_share_covers() -> None:
    rng = np.random.default_rng(1)
    share, runs, covered = 0.3, 600, 0
    for _ in range(runs):
        means = math.sqrt(share) * rng.standard_normal((8, 1))
        values = means + math.sqrt(1 - share) * rng.standard_normal((8, 4))
        covered += generation_noise(values.tolist()).share_upper >= share
    found = clopper_pearson(covered, runs, 0.999)
    assert found.lower <= 0.95 <= found.upper


def test_workers_may_live_on_only_after_enough_generations() -> None:
    rng = np.random.default_rng(2)
    few = generation_noise(rng.standard_normal((3, 3)).tolist())
    many = generation_noise(rng.standard_normal((100, 10)).tolist())
    assert not few.may_live_on()  # not seen is not absent
    assert many.may_live_on()


def test_generations_without_noise() -> None:
    assert generation_noise([[1.0, 1.0], [1.0, 1.0]]).p > 0.05
    apart = generation_noise([[1.0, 1.0], [2.0, 2.0]])
    assert apart.p == 0.0
    assert apart.share_upper == 1.0


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
    with pytest.raises(DataError, match="1 generations with 2 values: two generations"):
        generation_noise([[1.0, 2.0]])
    with pytest.raises(DataError, match="generation 2: 0 values"):
        generation_noise([[1.0, 2.0], []])
