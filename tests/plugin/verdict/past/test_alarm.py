"""Series of nights, replayed: what alarms, and what begins a new level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from pytest_dllama.history.nights import Night, SeriesAlarm
from pytest_dllama.history.series import Point, SeriesKey, series_of, work_of
from pytest_dllama.history.store import StoredRun
from pytest_dllama.record.cell import Verdict
from pytest_dllama.record.verdict import PairStatus
from pytest_dllama.stats.change_point import UNKNOWN_CORRELATION
from pytest_dllama.stats.errors import DataError
from pytest_dllama.verdict.past.alarm import known_of, level_noise, recorded, replay, worse_up
from tests.plugin.history.night_runs import cell, night_run

KEY = SeriesKey("tiny-2", "tpot_ms", "work")


def points(values: Sequence[float]) -> list[Point]:
    return [
        Point(f"run{n:03}", f"2026-01-{n + 1:02}T02:00:00Z", value, 3, None)
        for n, value in enumerate(values)
    ]


def noisy(nights: int, step_at: int | None = None, seed: int = 1) -> list[float]:
    found = 10.0 * np.exp(0.02 * np.random.default_rng(seed).standard_normal(nights))
    if step_at is not None:
        found[step_at:] *= 1.15
    return [float(value) for value in found]


def told(night: int, since: int, judged: PairStatus | None) -> dict[str, Night]:
    alarm = SeriesAlarm(
        cell=KEY.cell, metric=KEY.metric, work=KEY.work, nights_since=since, step=0.1, score=9.0,
        limit=4.0, judged=judged,
    )  # fmt: skip
    run = f"run{night:03}"
    return {run: Night(run=run, created_utc="2026-01-01T00:00:00Z", alarms=(alarm,))}


def test_a_quiet_series_is_quiet_and_tells_its_noise() -> None:
    found = replay(KEY, points(noisy(40)), {}, ())
    assert found.alarm is None
    assert len(found.level) == found.nights == 40
    noise = level_noise(found)
    assert noise is not None
    assert noise.sd == pytest.approx(0.02, rel=0.3)


def test_a_step_alarms_with_its_size_and_its_night() -> None:
    found = replay(KEY, points(noisy(24, 20)), {}, ())
    assert found.alarm is not None
    kept = recorded(KEY, found.alarm)
    assert (kept.cell, kept.metric, kept.nights_since) == ("tiny-2", "tpot_ms", 4)
    assert kept.step == pytest.approx(0.15, abs=0.03)
    assert kept.judged is None


@pytest.mark.parametrize("judged", ["PASS", "IMPROVED"])
def test_a_cleared_alarm_begins_a_new_level(judged: PairStatus) -> None:
    found = replay(KEY, points(noisy(40, 20)), told(22, 3, judged), ())
    assert found.alarm is None
    assert len(found.level) == 20  # from the night of the step on


@pytest.mark.parametrize("judged", ["REGRESSED", "INCONCLUSIVE", "INVALID", None])
def test_an_alarm_stands_until_it_is_cleared(judged: PairStatus | None) -> None:
    assert replay(KEY, points(noisy(26, 20)), told(22, 3, judged), ()).alarm is not None


def test_an_accepted_step_begins_a_new_level() -> None:
    nights = told(22, 3, "REGRESSED")
    assert replay(KEY, points(noisy(40, 20)), nights, {"run022"}).alarm is None
    assert replay(KEY, points(noisy(26, 20)), nights, {"run021"}).alarm is not None
    again = [*noisy(40, 20), *(value * 1.2 for value in noisy(4))]
    found = replay(KEY, points([v * 1.15 if n >= 40 else v for n, v in enumerate(again)]),
                   nights, {"run022"})  # fmt: skip
    assert found.alarm is not None


def test_an_alarm_of_another_series_is_none_of_ours() -> None:
    (run,) = nights = told(22, 3, "PASS")
    other = nights[run].alarms[0].model_copy(update={"cell": "tiny-4"})
    nights[run] = nights[run].model_copy(update={"alarms": (other,)})
    assert replay(KEY, points(noisy(26, 20)), nights, ()).alarm is not None


def test_other_series_of_the_metric_tell_their_noise() -> None:
    series = {
        SeriesKey(f"tiny-{n}", metric, "work"): points(noisy(30, seed=n))
        for n in range(2, 9)
        for metric in ("tpot_ms", "ttft_s")
    }
    known = known_of(series, KEY)
    assert known.variance is not None
    assert known.variance.s0 == pytest.approx(0.02, rel=0.2)
    assert known.variance.groups == 6 * 6  # six others, six groups of five nights each
    assert known.correlation.nights == 6 * 30 + 60
    assert known_of({KEY: points(noisy(30))}, KEY).correlation == UNKNOWN_CORRELATION
    assert known_of({KEY: points(noisy(30))}, KEY).variance is None


def test_rates_are_turned_and_zero_is_refused() -> None:
    rate = SeriesKey("tiny-2", "tokens_per_s", "work")
    assert worse_up(rate, 5.0) == -math.log(5.0)
    assert worse_up(KEY, 5.0) == math.log(5.0)
    with pytest.raises(DataError, match="tiny-2 tpot_ms: 0 has no logarithm"):
        worse_up(KEY, 0.0)


def test_only_the_same_work_is_a_series() -> None:
    run = night_run(0, [cell([10.0, 11.0]), cell([5.0], nodes=4)])
    steps = run.model_copy(update={"request": run.request.model_copy(update={"steps": 99})})
    model = run.models[0].model_copy(update={"size_bytes": 5})
    other = run.model_copy(update={"models": (model,)})
    runs = [StoredRun(str(n), r) for n, r in enumerate((run, run, steps, other))]
    found = series_of(runs, ["tpot_ms"])
    assert sorted((key.cell, len(values)) for key, values in found.items()) == [
        *(("tiny-2", 1), ("tiny-2", 1), ("tiny-2", 2)),
        *(("tiny-4", 1), ("tiny-4", 1), ("tiny-4", 2)),
    ]
    assert {p.value for key, v in found.items() for p in v if key.cell == "tiny-2"} == {10.5}
    assert "seed" not in work_of(run, "tiny")


def test_figures_of_invalid_cells_are_in_no_series() -> None:
    wrong = cell([10.0], verdict=Verdict(status="INVALID", reasons=("wire",)))
    failed = cell([10.0], nodes=4, status="failed", error="gone", verdict=None)
    missed = cell([10.0], nodes=8, verdict=Verdict(status="FAIL"))
    found = series_of([StoredRun("1", night_run(0, [wrong, failed, missed]))], ["tpot_ms"])
    assert [key.cell for key in found] == ["tiny-8"]
