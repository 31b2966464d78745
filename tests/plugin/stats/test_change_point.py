"""The nightly alarm: its algebra against plain linear algebra, its limit by seeded simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from benchmarks.verdicts.alarm_simulation import (
    NIGHTS,
    ClusterShape,
    draw_clusters,
    draw_series,
    known_by_others,
    quiet_batches,
    run_clusters,
    run_nights,
)
from benchmarks.verdicts.simulation import drawn_sd, prior_of
from pytest_dllama.stats.change_point import (
    FIRST_ALARM,
    MIN_BEFORE,
    RHO_WEIGHT,
    UNKNOWN_CORRELATION,
    YOUNG_MARGINS,
    Alarm,
    CorrelationPrior,
    Noise,
    StepDetector,
    pooled_correlation,
    step_scores,
)
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import clopper_pearson


def night_values(seed: int, nights: int, step_at: int | None = None, rho: float = 0.0) -> Any:
    """Values at 2 % noise, with a 5 % step."""
    x = 0.02 * draw_series(np.random.default_rng(seed), 1, nights, rho)[0]
    if step_at is not None:
        x[step_at:] += 0.05
    return 4.0 + x


def alarms(detector: StepDetector, values: Any) -> list[Alarm | None]:
    return [detector.update(float(value)) for value in values]


def test_the_score_is_generalized_least_squares() -> None:
    x = night_values(1, 24, 15, rho=0.3)
    scores, sizes, rhos = step_scores(x[np.newaxis], Noise.nothing(1))
    rho = float(rhos[0])
    covariance = linalg.toeplitz(rho ** np.arange(24)) / (1 - rho**2)
    weight = linalg.inv(covariance)
    for split, k in enumerate(range(MIN_BEFORE, 24)):
        design = np.column_stack([np.ones(24), np.arange(24) >= k])
        information = design.T @ weight @ design
        coefficients = np.linalg.solve(information, design.T @ weight @ x)
        rest = x - design @ coefficients
        variance = rest @ weight @ rest / 22
        t = coefficients[1] / math.sqrt(variance * linalg.inv(information)[1, 1])
        z = math.copysign(math.sqrt(22 * math.log1p(t * t / 22)), t) * (8 * 22 + 1) / (8 * 22 + 3)
        assert sizes[0, split] == pytest.approx(coefficients[1])
        margin = dict(enumerate(YOUNG_MARGINS, 1)).get(24 - k, 0.0)
        assert scores[0, split] == pytest.approx(z - margin)
    assert scores.shape == (1, 24 - MIN_BEFORE)


def test_one_series_at_a_time_is_many_at_once() -> None:
    x = draw_series(np.random.default_rng(2), 5, 50, 0.2)
    x[:, 35:] += 4.0
    together = run_nights(x, prior_of(1.0))
    for row, series in enumerate(x):
        single = alarms(StepDetector(prior_of(1.0)), series)
        scores = [-math.inf if alarm is None else alarm.score for alarm in single]
        expected = np.where(together.alarms()[row], together.score[row], -math.inf)
        assert scores == pytest.approx(expected.tolist())
        assert any(alarm is not None for alarm in single)


@pytest.mark.parametrize("d0", [None, 8.0])
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_at_most_one_quiet_series_of_a_hundred_alarms(rho: float, d0: float | None) -> None:
    series = 4000
    batches = quiet_batches(np.random.default_rng(3), series, rho, d0)
    count = sum(int(nights.alarms().any(axis=1).sum()) for nights in batches)
    assert clopper_pearson(count, series, 0.99).lower <= 0.01
    assert NIGHTS == 80


def test_most_steps_are_found_within_four_nights() -> None:
    x = draw_series(np.random.default_rng(4), 1500, 80, 0.0)
    x[:, 60:] += 2.5  # 5 % at 2 % noise
    for prior in (None, prior_of(1.0)):
        found = run_nights(x, prior).alarms()[:, 60:64].any(axis=1)
        assert found.mean() > 0.5  # 0.58 and 0.59 of many more series


def test_steps_are_found_in_correlated_series_too() -> None:
    x = draw_series(np.random.default_rng(5), 1500, 80, 0.3)
    x[:, 60:] += 2.5
    found = run_nights(x, prior_of(1.0)).alarms()[:, 60:67].any(axis=1)
    assert found.mean() > 0.45


def test_improvements_do_not_alarm() -> None:
    x = draw_series(np.random.default_rng(6), 1000, 80, 0.0)
    x[:, 40:] -= 4.0
    assert run_nights(x, prior_of(1.0)).alarms().any(axis=1).mean() < 0.01


def test_series_of_other_variance_than_the_prior_stay_quiet() -> None:
    rng = np.random.default_rng(7)
    x = draw_series(rng, 3000, 80, 0.0) * drawn_sd(rng, 3000, 1.0, 4.0)[:, np.newaxis]
    count = int(run_nights(x, prior_of(1.0)).alarms().any(axis=1).sum())
    assert clopper_pearson(count, 3000, 0.99).lower <= 0.01


def test_an_alarm_says_when_and_how_much() -> None:
    values = night_values(8, 60, 40) + np.where(np.arange(60) >= 40, 0.05, 0.0)
    first = next(alarm for alarm in alarms(StepDetector(), values) if alarm)
    assert first.night == 43  # two odd nights are no step
    assert first.nights_since == 3
    assert first.step == pytest.approx(0.10, abs=0.04)
    assert first.score > first.limit


def test_one_odd_night_does_not_alarm() -> None:
    values = night_values(9, 60)
    values[40] = 4.1  # five standard deviations
    assert not any(alarms(StepDetector(), values))


def test_one_gross_night_does() -> None:
    values = night_values(9, 41)
    values[40] += 0.3
    found = alarms(StepDetector(), values)
    assert not any(found[:-1])
    assert found[-1] is not None
    assert found[-1].nights_since == 1
    assert found[-1].step == pytest.approx(0.3, abs=0.05)


def test_nights_of_other_series_tell_the_correlation() -> None:
    for rho in (0.0, 0.3, 0.6):
        found = pooled_correlation(draw_series(np.random.default_rng(11), 200, 30, rho))
        assert found.rho == pytest.approx(rho, abs=0.03)
        assert found.nights == 200 * 30 + RHO_WEIGHT
    assert pooled_correlation([]) == UNKNOWN_CORRELATION
    assert pooled_correlation([[1.0] * 30, [1.0, 2.0]]) == UNKNOWN_CORRELATION


def test_neighbours_at_once_are_neighbours_one_by_one() -> None:
    x = draw_clusters(np.random.default_rng(13), ClusterShape(3, 0.5), 2, 40, 0.3)
    found = known_by_others(x, 25).rho
    expected = [
        pooled_correlation(np.delete(cluster[:, :25], i, axis=0)).rho
        for cluster in x
        for i in range(3)
    ]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_series_with_neighbours_stay_quiet_too(rho: float) -> None:
    x = draw_clusters(np.random.default_rng(14), ClusterShape(6, 0.5), 400, NIGHTS, rho)
    found = run_clusters(x).any(axis=2)
    assert clopper_pearson(int(found.sum()), found.size, 0.99).lower <= 0.01


def test_a_known_correlation_finds_steps_of_young_series_sooner() -> None:
    x = draw_series(np.random.default_rng(12), 1500, 34, 0.0)
    x[:, 30:] += 2.5
    known = CorrelationPrior(0.04, 300.0)
    shares = [
        run_nights(x, None, prior).alarms()[:, 30:].any(axis=1).mean()
        for prior in (UNKNOWN_CORRELATION, known)
    ]
    assert shares[0] < 0.5 < shares[1]


def test_no_alarm_before_ten_nights_are_known() -> None:
    values = [4.0 + 0.001 * (i % 3) for i in range(FIRST_ALARM - 3)] + [9.0] * 5
    found = [alarm is not None for alarm in alarms(StepDetector(), values)]
    assert found.index(True) + 1 == FIRST_ALARM


def test_the_same_value_every_night_is_quiet_until_it_steps() -> None:
    detector = StepDetector()
    assert not any(alarms(detector, [math.log(0.1)] * 50))
    found = alarms(detector, [math.log(0.11)])
    assert found[-1] is not None


@settings(max_examples=20)
@given(st.floats(-5, 5), st.floats(0.1, 10), st.integers(0, 200))
def test_level_and_unit_do_not_matter(level: float, scale: float, seed: int) -> None:
    x = night_values(seed, 45, 38)
    one = alarms(StepDetector(), x)
    other = alarms(StepDetector(), level + scale * x)
    assert [a is None for a in one] == [a is None for a in other]
    for a, b in zip(one, other, strict=True):
        if a is not None and b is not None:
            assert b.score == pytest.approx(a.score, rel=1e-4)
            assert b.step == pytest.approx(a.step * scale, rel=1e-4)


def test_an_accepted_change_is_the_new_level() -> None:
    values = night_values(11, 60, 40)
    values[40:] += 0.1
    detector = StepDetector()
    found = alarms(detector, values[:44])
    last = found[-1]
    assert last is not None
    detector.accept(last.nights_since)
    assert detector.night == last.nights_since == 4
    assert not any(alarms(detector, values[44:]))


def test_bad_numbers_are_named_and_change_nothing() -> None:
    x = night_values(12, 60, 40)
    detector = StepDetector()
    alarms(detector, x[:12])
    with pytest.raises(DataError, match="tonight's value is nan"):
        detector.update(math.nan)
    with pytest.raises(DataError, match="a change 13 nights ago: only 12 are remembered"):
        detector.accept(13)
    later = alarms(detector, x[12:])
    assert any(later)
    assert later == alarms(StepDetector(), x)[12:]
