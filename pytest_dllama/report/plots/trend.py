"""A series of many nights as a small chart: its line, and what happened at its nights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pytest_dllama.history.nights import SeriesAlarm
from pytest_dllama.history.trend import Trend, TrendPoint
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.run import Revision
from pytest_dllama.report.figures.charts import Chart, Event, Point, Track
from pytest_dllama.report.figures.nights import NightOfAll
from pytest_dllama.report.text.numbers import percent, share, size, three_digits

CLEARED = ("PASS", "IMPROVED")  # verdicts of pairs after which the level is as it should be


def small_chart(name: str, trend: Trend, nights: Sequence[NightOfAll]) -> Chart | None:
    """The series over the nights of all; None if it has no value that can be drawn."""
    places = {night.run: (i, night) for i, night in enumerate(nights)}
    known = [p for p in trend.points if math.isfinite(p.point.value)]
    if not known:
        return None
    points = tuple(Point(places[p.point.run][0], p.point.value) for p in known)
    events = tuple(_events(known, places))
    hints = tuple(_hint(trend.key.metric, p) for p in known)
    return Chart(name, "", "", (Track(points, hints, events, len(nights)),))


def _hint(metric: str, p: TrendPoint) -> str:
    at = f", {commit_of(p.point.revision)}" if p.point.revision else ""
    return f"{p.point.created_utc[:16]}: {_value(metric, p.point.value)}{at}"


def _value(name: str, value: float) -> str:
    metric = METRICS.get(name)
    if metric is None:
        return three_digits(value)
    if metric.unit == "B":
        return size(value)
    return share(value) if metric.is_share else f"{three_digits(value)} {metric.unit}"


def commit_of(revision: Revision) -> str:
    """A commit as people name it; `*` marks changes that no commit has."""
    return f"{revision.commit[:10]}{'*' if revision.is_dirty else ''} {revision.subject}"


def _events(
    points: Sequence[TrendPoint], places: Mapping[str, tuple[int, NightOfAll]]
) -> Iterator[Event]:
    for p in points:
        x, night = places[p.point.run]
        if night.is_other_commit and night.revision is not None:
            yield Event(x, "commit", f"from here on {commit_of(night.revision)}")
        when = p.point.created_utc[:16]
        if p.is_anchor:
            yield Event(x, "anchor", f"{when}: anchor")
        if p.is_accepted:
            yield Event(x, "accepted", f"{when}: accepted")
        if p.alarm is not None:
            yield _alarm(x, when, p.alarm)


def _alarm(x: int, when: str, alarm: SeriesAlarm) -> Event:
    text = (
        f"{when}: alarm, {percent(alarm.step * 100)}, night {alarm.nights_since} of it, "
        f"{alarm.judged or 'not judged'}"
    )
    if alarm.judged == "REGRESSED":
        return Event(x, "regressed", text)
    return Event(x, "cleared" if alarm.judged in CLEARED else "alarm", text)
