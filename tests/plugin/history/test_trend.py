"""The series of a cluster as a page shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.history.accepted import Acceptance, acceptances
from pytest_dllama.history.nights import Night, SeriesAlarm, nights_of
from pytest_dllama.history.store import RunStore
from pytest_dllama.history.trend import trends
from tests.plugin.history.night_runs import CLUSTER, cell, night_run, slowed


def test_what_changed_most_stands_first(tmp_path: Path) -> None:
    store = RunStore(tmp_path, CLUSTER)
    for n in range(6):
        store.add(night_run(n, [cell([10.0 + n]), cell([50.0 - (n == 5)], nodes=4)]))
    found = trends(store, ["tpot_ms"])
    assert [trend.key.cell for trend in found] == ["tiny-2", "tiny-4"]
    assert found[0].change == pytest.approx(14 / 11 - 1)
    assert found[1].change == 0.0  # a median of three: one night is no trend
    assert [p.point.value for p in found[0].points] == [10, 11, 12, 13, 14, 15]
    revision = found[0].points[2].point.revision
    assert revision is not None
    assert revision.subject == "change 2"
    assert trends(store, ["sync_share"]) == []


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_run_that_was_slowed_down_on_purpose_is_in_no_series(
    tmp_path: Path, is_watched: bool
) -> None:
    store = RunStore(tmp_path, CLUSTER)
    for n in range(4):
        one = night_run(n, [cell([10.0 + n])])
        if n == 2:
            one = slowed(one)
        name = store.add(one)
        if is_watched:
            nights_of(store).add(Night(run=name, created_utc=one.created_utc))
    (found,) = trends(store, ["tpot_ms"])
    assert [p.point.value for p in found.points] == [10, 11, 13]


def test_alarms_and_decisions_stand_at_their_points(tmp_path: Path) -> None:
    store = RunStore(tmp_path, CLUSTER)
    runs = [night_run(n, [cell([10.0]), cell([20.0], nodes=4)]) for n in range(3)]
    names = [store.add(run) for run in runs]
    key = next(t.key for t in trends(store, ["tpot_ms"]) if t.key.cell == "tiny-4")
    alarm = SeriesAlarm(
        cell=key.cell, metric=key.metric, work=key.work, nights_since=1, step=0.1, score=5.0,
        limit=4.0, judged="REGRESSED",
    )  # fmt: skip
    for name, run in zip(names[:2], runs, strict=False):  # the third was measured by day
        alarms = (alarm,) if name == names[1] else ()
        nights_of(store).add(Night(run=name, created_utc=run.created_utc, alarms=alarms))
    acceptances(store).add(
        Acceptance(kind="anchor", run=names[0], engine="embedded", decided_utc="-")
    )
    two, four = sorted(trends(store, ["tpot_ms"]), key=lambda trend: trend.key)
    assert [p.alarm for p in four.points] == [None, alarm]
    assert [p.alarm for p in two.points] == [None, None]
    assert [p.is_anchor for p in two.points] == [True, False]
    assert not any(p.is_accepted for p in two.points)
