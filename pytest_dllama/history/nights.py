"""What the nightly watch found: an entry a night, with the alarms and how they were judged."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pytest_dllama.history.ledger import Ledger
from pytest_dllama.history.series import SeriesKey, not_slowed
from pytest_dllama.history.store import RunStore, StoredRun
from pytest_dllama.record.base import Record
from pytest_dllama.record.verdict import PairStatus

NIGHT_VERSION = 1


class SeriesAlarm(Record):
    """A series whose level stepped up, tonight or earlier."""

    cell: str
    metric: str
    work: str
    nights_since: int  # the likeliest step began so many nights ago, tonight included
    step: float  # relative, plus is worse
    score: float
    limit: float
    judged: PairStatus | None = None  # by pairs of last accepted against now; None: not judged

    @property
    def key(self) -> SeriesKey:
        """Of the series."""
        return SeriesKey(self.cell, self.metric, self.work)


class Night(Record):
    """One night of the watch."""

    schema_version: Annotated[int, Field(ge=1, le=NIGHT_VERSION)] = NIGHT_VERSION
    run: str  # its name in the history
    created_utc: str  # of the run
    alarms: tuple[SeriesAlarm, ...] = ()
    baseline: str | None = None  # SPEC of the pairs that judged them
    status: PairStatus | None = None  # the worst of the alarms' verdicts
    why_not_judged: str | None = None


def nights_of(store: RunStore) -> Ledger[Night]:
    """The nights of one cluster."""
    return Ledger(store.cluster / "nights", Night)


def watched(store: RunStore) -> list[Night]:
    """The nights, the oldest first; of a run that was watched twice the later word counts."""
    by_run = {entry.run: entry for entry in nights_of(store).entries()}
    return sorted(by_run.values(), key=lambda night: (night.created_utc, night.run))


def runs_of_nights(store: RunStore, nights: list[Night]) -> list[StoredRun]:
    """The runs of nights that the history still has, in their order; none slowed on purpose."""
    known = set(store.names())
    found = [StoredRun(night.run, store.read(night.run)) for night in nights if night.run in known]
    return list(not_slowed(found))
