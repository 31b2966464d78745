"""The nights that series of trends have in common: their order, and what happened at each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_dllama.history.nights import SeriesAlarm
from pytest_dllama.history.trend import Trend, TrendPoint
from pytest_dllama.record.run import Revision

Decision = Literal["accepted", "anchor", "both"]


@dataclass(frozen=True, slots=True)
class NightOfAll:
    """One night over all series."""

    run: str
    created_utc: str
    revision: Revision | None
    before: Revision | None  # of the night before
    alarms: tuple[SeriesAlarm, ...]
    decision: Decision | None

    @property
    def is_other_commit(self) -> bool:
        """Whether the night before measured something else."""
        if self.revision is None or self.before is None:
            return False
        return self.revision.commit != self.before.commit

    @property
    def is_told(self) -> bool:
        """Whether anything happened at it."""
        return self.is_other_commit or bool(self.alarms) or self.decision is not None


def nights_of(trends: Sequence[Trend]) -> tuple[NightOfAll, ...]:
    """Every night that any series has a value of, the oldest first."""
    return tuple(_nights(trends))


def _nights(trends: Sequence[Trend]) -> Iterator[NightOfAll]:
    by_run: dict[tuple[str, str], TrendPoint] = {}
    alarms: dict[str, list[SeriesAlarm]] = {}
    for p in (p for trend in trends for p in trend.points):
        by_run[p.point.created_utc, p.point.run] = p
        if p.alarm is not None:
            alarms.setdefault(p.point.run, []).append(p.alarm)
    before: Revision | None = None
    for (created, run), any_point in sorted(by_run.items(), key=lambda item: item[0]):
        revision = any_point.point.revision
        decisions = (any_point.is_accepted, any_point.is_anchor)
        yield NightOfAll(
            run,
            created,
            revision,
            before,
            tuple(alarms.get(run, ())),
            _DECISIONS[decisions],
        )
        before = revision or before


_DECISIONS: dict[tuple[bool, bool], Decision | None] = {
    (False, False): None,
    (True, False): "accepted",
    (False, True): "anchor",
    (True, True): "both",
}
