"""What a page of trends shows: every series of a cluster with its alarms, decisions and commits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_dllama.history.accepted import acceptances
from pytest_dllama.history.nights import SeriesAlarm, runs_of_nights, watched
from pytest_dllama.history.series import Point, SeriesKey, not_slowed, series_of
from pytest_dllama.history.store import RunStore
from pytest_dllama.record.run import RunRecord

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
    def ends(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The values of the beginning and of the end: ENDS of each, fewer of a short series."""
        values = tuple(p.point.value for p in self.points)
        n = max(min(ENDS, len(values) // 2), 1)
        return values[:n], values[-n:]

    @property
    def change(self) -> float | None:
        """The last points against the first ones: last / first - 1; None where that cannot be."""
        first, last = map(statistics.median, self.ends)
        return last / first - 1 if first and len(self.points) > 1 else None

    @property
    def is_apart(self) -> bool:
        """Whether no value of the end lies among those of the beginning; needs ENDS of each."""
        first, last = self.ends
        apart = min(last) > max(first) or max(last) < min(first)
        return apart and len(last) == ENDS


def trends(
    store: RunStore,
    metrics: Sequence[str] | None = None,
    most: int = 0,
    narrowed: Callable[[RunRecord], RunRecord] = lambda run: run,
) -> list[Trend]:
    """Every series of the watched nights, of all runs where nothing was watched.

    What changed most stands first. Of more than `most` nights only the last are taken (0: all);
    `narrowed` leaves of a run the cells that are wanted.
    """
    nights = watched(store)[-most:]
    alarms = {(night.run, alarm.key): alarm for night in nights for alarm in night.alarms}
    decided = {(entry.kind, entry.run) for entry in acceptances(store).entries()}
    stored = runs_of_nights(store, nights) or list(not_slowed(store.runs()))[-most:]
    runs = [replace(found, run=narrowed(found.run)) for found in stored]
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
