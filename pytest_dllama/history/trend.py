"""What a page of trends shows: every series of a cluster with its alarms, decisions and commits."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.history.accepted import acceptances
from pytest_dllama.history.nights import SeriesAlarm, runs_of_nights, watched
from pytest_dllama.history.series import Point, SeriesKey, series_of
from pytest_dllama.history.store import RunStore, StoredRun

ENDS = 3  # points whose median is the beginning, or the end, of a series


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One run of a series, and what was decided on it."""

    point: Point
    alarm: SeriesAlarm | None  # of this very series
    is_accepted: bool
    is_anchor: bool


@dataclass(frozen=True, slots=True)
class Trend:
    """One metric of one cell over time."""

    key: SeriesKey
    points: tuple[TrendPoint, ...]  # the oldest first

    @property
    def change(self) -> float | None:
        """The last points against the first ones: last / first - 1; None where that cannot be."""
        values = [p.point.value for p in self.points]
        if len(values) < 2:
            return None
        n = min(ENDS, len(values) // 2)
        first, last = statistics.median(values[:n]), statistics.median(values[-n:])
        return last / first - 1 if first else None


def trends(store: RunStore, metrics: Sequence[str] | None = None) -> list[Trend]:
    """Every series of the watched nights, of all runs where nothing was watched.

    What changed most stands first.
    """
    nights = watched(store)
    alarms = {(night.run, alarm.key): alarm for night in nights for alarm in night.alarms}
    decided = {(entry.kind, entry.run) for entry in acceptances(store).entries()}
    runs: list[StoredRun] = runs_of_nights(store, nights) or list(store.runs())
    found = [
        Trend(
            key,
            tuple(
                TrendPoint(
                    point,
                    alarms.get((point.run, key)),
                    ("accepted", point.run) in decided,
                    ("anchor", point.run) in decided,
                )
                for point in points
            ),
        )
        for key, points in series_of(runs, metrics).items()
    ]
    return sorted(found, key=lambda trend: (-abs(trend.change or 0.0), trend.key))
