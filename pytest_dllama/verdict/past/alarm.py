"""The nightly alarm of every series: the nights so far, and whether tonight raises one.

An alarm judges nothing: it asks for pairs of the last accepted version against now. An alarm that
pairs did not confirm, and one whose change was accepted, begin a new level of their series.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pytest_dllama.history.nights import Night, SeriesAlarm
from pytest_dllama.history.series import Point, SeriesKey
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.stats.change_point import (
    UNKNOWN_CORRELATION,
    Alarm,
    CorrelationPrior,
    StepDetector,
    pooled_correlation,
)
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.prior import VarianceGroup, VariancePrior, fit_prior
from pytest_dllama.stats.unpaired import NightNoise, night_noise

# What the watch looks at: the metrics that pairs judge, so that every alarm has its judge.
WATCHED = ("ttft_s", "tpot_ms", "rct_s")
GROUP_NIGHTS = 5  # of one variance: short, to keep slow drift out
# A judgement after which the level is as it should be, whatever made it step.
CLEARED = ("PASS", "IMPROVED")


@dataclass(frozen=True, slots=True)
class Known:
    """What the other series of a cluster know of one's noise."""

    variance: VariancePrior | None = None  # of nights; None: too few are known
    correlation: CorrelationPrior = UNKNOWN_CORRELATION


@dataclass(frozen=True, slots=True)
class Replay:
    """A series after its last night."""

    key: SeriesKey
    alarm: Alarm | None  # tonight's
    level: tuple[float, ...]  # ln of the nights since the last new level
    nights: int


def worse_up(key: SeriesKey, value: float) -> float:
    """The value's ln, its sign turned so that plus is worse.

    Raises:
        DataError: a value that is not above 0.
    """
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"{key.cell} {key.metric}: {value:g} has no logarithm")
    return math.log(value) * (-1 if METRICS[key.metric].better == "higher" else 1)


def replay(
    key: SeriesKey,
    points: Sequence[Point],
    nights: Mapping[str, Night],
    accepted: Collection[str],
    known: Known = Known(),
) -> Replay:
    """Feed a series to its detector, night by night, as each night saw it.

    Args:
        key: of the series.
        points: its nights, the last one tonight.
        nights: what earlier nights found, by the name of their run.
        accepted: names of runs that were accepted: a step that stood then is the new level.
        known: what other series of the cluster know of this one's noise.

    Which steps were cleared is what earlier nights wrote down: they are not looked at again.
    """
    detector = StepDetector(known.variance, known.correlation)
    level: list[float] = []
    alarm = None
    for point in points:
        value = worse_up(key, point.value)
        alarm = detector.update(value)
        level.append(value)
        told = next((a for a in _alarms(nights, point.run) if a.key == key), None)
        if told is not None and (told.judged in CLEARED or point.run in accepted):
            since = min(told.nights_since, detector.remembered)
            detector.accept(since)
            level, alarm = level[len(level) - since :], None
    return Replay(key, alarm, tuple(level), len(points))


def _alarms(nights: Mapping[str, Night], run: str) -> Sequence[SeriesAlarm]:
    night = nights.get(run)
    return night.alarms if night else ()


def known_of(series: Mapping[SeriesKey, Sequence[Point]], key: SeriesKey) -> Known:
    """What the other series of this metric know of the noise of nights.

    A step in one of them makes one of its groups wide, which the prior takes for variety, and looks
    like correlation: both are then worth less, and the alarm is later, never falser.
    """
    others = [
        [worse_up(other, point.value) for point in points]
        for other, points in series.items()
        if other != key and other.metric == key.metric
    ]
    correlation = pooled_correlation(others)
    try:
        variance = fit_prior([group for values in others for group in _groups(values)])
    except DataError:  # most groups have no variance at all
        variance = None
    return Known(variance, correlation)


def _groups(values: Sequence[float]) -> list[VarianceGroup]:
    found = []
    for begin in range(0, len(values) - GROUP_NIGHTS + 1, GROUP_NIGHTS):
        some = values[begin : begin + GROUP_NIGHTS]
        mean = math.fsum(some) / GROUP_NIGHTS
        squares = math.fsum((value - mean) ** 2 for value in some)
        found.append(VarianceGroup(GROUP_NIGHTS - 1, squares / (GROUP_NIGHTS - 1)))
    return found


def level_noise(replayed: Replay) -> NightNoise | None:
    """How much the series moves from night to night at its present level; None under 10 nights."""
    return night_noise(replayed.level)


def recorded(key: SeriesKey, alarm: Alarm) -> SeriesAlarm:
    """An alarm as the night keeps it."""
    return SeriesAlarm(
        cell=key.cell,
        metric=key.metric,
        work=key.work,
        nights_since=alarm.nights_since,
        step=math.expm1(alarm.step),
        score=alarm.score,
        limit=alarm.limit,
    )
