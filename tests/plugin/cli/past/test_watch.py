"""Nights: real runs of a program whose times are stated, so that what is found is exact."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.cli.child import Ended
from pytest_dllama.cli.main import main
from pytest_dllama.cli.past import again
from pytest_dllama.history.nights import Night, SeriesAlarm, nights_of, watched
from pytest_dllama.history.run_files import write_run
from pytest_dllama.history.store import RunStore
from pytest_dllama.record.cell import Estimate, Verdict
from tests.plugin.history.night_runs import CLUSTER, cell, night_run, slowed
from tests.plugin.history.stated_dllama import stated_dllama

pytestmark = pytest.mark.long

OPTIONS = [
    *("--engine", "dllama", "--nodes", "1", "--models", "tiny", "--steps", "20"),
    *("--repeats", "1", "--warmup", "0", "-k", "test_tpot", "-p", "no:cacheprovider"),
    *("--report-format", "none"),
]
EARLIER_NIGHTS = 9  # before those that are measured here


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_dllama.cli", *words, "--history", "kept"],
        cwd=folder, capture_output=True, text=True, timeout=600,
        env={**os.environ, "COLUMNS": "200", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")},
    )  # fmt: skip


def command_here(folder: Path, *words: str) -> str:
    """A command that starts no other: in this process, since loading takes longer than it does."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*words, "--history", str(folder / "kept")]) == 0
    return out.getvalue()


def nightly(folder: Path, program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    engine = ("--dllama-bin", str(program))
    return command(folder, "nightly", *OPTIONS, *engine, "--calibrate", "0", *words)


def store_in(folder: Path) -> RunStore:
    (cluster,) = (folder / "kept").iterdir()
    return RunStore(folder / "kept", cluster.name)


def earlier_nights(store: RunStore, nights: int) -> None:
    """Nights before the first: its own run, with medians that vary by half a percent."""
    first = store.read(store.names()[0])
    for n in range(nights):
        factor = 1 + 0.0025 * (n % 3 - 1)
        cells = [
            cell.model_copy(update={"metrics": scaled(cell.metrics, factor)})
            for cell in first.cells
        ]
        created = f"2026-01-{n + 1:02}T02:00:00Z"
        run = first.model_copy(update={"created_utc": created, "cells": tuple(cells)})
        nights_of(store).add(Night(run=store.add(run), created_utc=created))


def scaled(metrics: dict[str, Estimate], factor: float) -> dict[str, Estimate]:
    """The same medians, all of them longer."""
    return {
        name: value.model_copy(update={"value": value.value * factor})
        for name, value in metrics.items()
    }


def test_quiet_nights_and_a_slow_one(tmp_path: Path) -> None:
    good = stated_dllama(tmp_path, "good", 190)
    slow = stated_dllama(tmp_path, "slow", 300)
    for night in (1, EARLIER_NIGHTS + 2):
        done = nightly(tmp_path, good, "--as", f"dllama:{good}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"watch: night {night} of" in done.stdout
        assert "3 series, 0 alarms" in done.stdout
        assert ("it is the anchor" in (tmp_path / "report/night.md").read_text()) == (night == 1)
        if night == 1:
            earlier_nights(store_in(tmp_path), EARLIER_NIGHTS)
    done = nightly(tmp_path, slow)
    assert done.returncode == 1, done.stdout + done.stderr
    told = next(line for line in done.stdout.splitlines() if line.startswith("ALARM tiny-1 tpot"))
    assert "ALARM tiny-1 tpot_ms: +5" in told
    assert "(1 night)" in told
    assert f"pairs of dllama:{good} (accepted" in done.stdout
    assert "REGRESSED tiny-1 tpot_ms: +57." in done.stdout
    night = watched(store_in(tmp_path))[-1]
    assert night.status == "REGRESSED"
    assert {a.judged for a in night.alarms if a.metric == "tpot_ms"} == {"REGRESSED"}
    assert "WHY tiny-1: +57." in done.stdout  # where it went, as far as dllama tells
    page = (tmp_path / "report/night.md").read_text()
    assert page.startswith("## Nightly: REGRESSED\n")
    assert "| tiny-1 | tpot_ms | +5" in page
    trend = (tmp_path / "report/trend.en.md").read_text()
    assert "- tiny-1 `tpot_ms`: +5" in trend
    assert ", night 1 of it, **REGRESSED**" in trend
    assert (tmp_path / "summary.md").read_text().endswith(page)
    assert json.loads((tmp_path / "report/watch/verdict.json").read_text())["status"] == "REGRESSED"
    accept_the_change(tmp_path, slow, night.run)


def accept_the_change(folder: Path, slow: Path, run: str) -> None:
    """Somebody decides that it is well: the next night is quiet, on its new level."""
    words = ("baseline", "accept", run, "--as", f"dllama:{slow}", "--despite-creep")
    command_here(folder, *words)
    done = nightly(folder, slow)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 series, 0 alarms" in done.stdout


def seeded(folder: Path, nights: int, tpot_ms: float = 190.0) -> RunStore:
    """A history of stated nights of one-node cells, as the watch leaves it."""
    store = RunStore(folder / "kept", CLUSTER)
    for night in range(nights):
        run = night_run(night, [cell([tpot_ms + night % 3, tpot_ms], nodes=1)])
        nights_of(store).add(Night(run=store.add(run), created_utc=run.created_utc))
    return store


def test_a_step_that_pairs_do_not_confirm_is_the_new_level(tmp_path: Path) -> None:
    """The machine became slower, not the program."""
    program = stated_dllama(tmp_path, "good", 190)
    store = seeded(tmp_path, 12)
    first = store.names()[0]
    command_here(
        tmp_path, "baseline", "accept", first, "--as", f"dllama:{program}", "--cluster", CLUSTER
    )
    tonight = night_run(12, [cell([260.0, 261.0], nodes=1)])
    path = write_run(tonight, tmp_path / "run.json")
    engine = [*OPTIONS, "--dllama-bin", str(program)]
    done = command(tmp_path, "watch", str(path), "--pairs", "3", *engine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ALARM tiny-1 tpot_ms: +3" in done.stdout
    assert "first at " + "0" * 9 in done.stdout
    assert "PASS tiny-1 tpot_ms: " in done.stdout
    assert "this level is taken as the new one" in done.stdout
    for night in range(13, 16):
        later = night_run(night, [cell([260.0 + night % 2, 261.0], nodes=1)])
        assert "0 alarms" in command_here(tmp_path, "watch", str(write_run(later, path)))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "no run is accepted: `pytest-dllama baseline accept RUN` names one that was good"),
        (("--as", "dllama:/nonexistent/dllama"), "the pairs against dllama:/nonexistent/dllama"),
    ],
)
def test_an_alarm_that_cannot_be_judged_is_told_all_the_same(
    tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    store = seeded(tmp_path, 12)
    if words:
        command_here(tmp_path, "baseline", "accept", store.names()[0], *words, "--cluster", CLUSTER)
    path = write_run(night_run(12, [cell([400.0], nodes=1)]), tmp_path / "run.json")
    done = command(tmp_path, "watch", str(path), *OPTIONS, "--dllama-bin", "/nonexistent/dllama")
    assert done.returncode == 0
    assert "ALARM tiny-1 tpot_ms: +109.9%" in done.stdout
    assert f"the alarms are not judged: {why}" in done.stderr
    night = watched(store)[-1]
    assert night.status is None
    assert night.why_not_judged is not None


def test_a_version_that_cannot_run_again_is_compared_as_stored(tmp_path: Path) -> None:
    """Weaker, and said so; without the noise of nights it stays INCONCLUSIVE."""
    program = stated_dllama(tmp_path, "good", 190)
    done = nightly(tmp_path, program, "--repeats", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    store = store_in(tmp_path)
    earlier_nights(store, 10)
    slow = stated_dllama(tmp_path, "slow", 300)
    done = nightly(tmp_path, slow, "--repeats", "2")
    assert "compared with the stored run, unpaired, which is weaker" in done.stdout
    night = watched(store)[-1]
    assert night.baseline == "accepted"
    assert night.status in ("REGRESSED", "INCONCLUSIVE")


def test_a_run_that_was_slowed_down_on_purpose_is_judged_and_no_night(tmp_path: Path) -> None:
    store = seeded(tmp_path, 12)
    runs = store.names()
    path = write_run(slowed(night_run(12, [cell([400.0], nodes=1)])), tmp_path / "run.json")
    out = command_here(tmp_path, "watch", str(path), "--report", str(tmp_path / "report"))
    assert "watch: this run was slowed down on purpose (--inject tpot=50%): it is judged" in out
    assert "ALARM tiny-1 tpot_ms: +109.9%" in out
    assert (store.names(), len(watched(store))) == (runs, 12)
    path = write_run(night_run(12, [cell([190.0], nodes=1)]), path)
    assert "watch: night 13 of cluster: 3 series, 0 alarms" in command_here(
        tmp_path, "watch", str(path), "--report", str(tmp_path / "report")
    )


def test_pairs_of_a_slowed_run_are_slowed_alike() -> None:
    from pytest_dllama.cli.past.watch import _as_measured

    run = night_run(0, [])
    assert _as_measured(run, ("--nodes", "2")) == ("--nodes", "2")
    assert _as_measured(slowed(run), ("--nodes", "2"))[2:] == ("--inject", "tpot=50%")
    assert _as_measured(slowed(run), ("--inject=tpot=9%",)) == ("--inject=tpot=9%",)


def test_a_watch_that_is_stopped_among_its_pairs_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = seeded(tmp_path, 12)
    command_here(tmp_path, "baseline", "accept", store.names()[0], "--cluster", CLUSTER)
    path = write_run(night_run(12, [cell([400.0], nodes=1)]), tmp_path / "run.json")
    stopped = Ended(2, was_stopped=True)
    monkeypatch.setattr(again, "run_child", lambda command: stopped)
    history = str(tmp_path / "kept")
    assert main(["watch", str(path), "--history", history, "--prompt", "a b"]) == 130
    kept = store.path(store.names()[-1])
    told = capsys.readouterr().err
    assert f"  pytest-dllama watch {kept} --history {history} --prompt 'a b'\n" in told
    assert len(watched(store)) == 12


def test_the_same_night_twice_is_one_night(tmp_path: Path) -> None:
    store = seeded(tmp_path, 3)
    path = write_run(night_run(3, [cell([190.0], nodes=1)]), tmp_path / "run.json")
    for _ in range(2):
        assert "watch: night 4 of cluster" in command_here(tmp_path, "watch", str(path))
    assert len(watched(store)) == 4
    assert len(store.names()) == 4


def test_a_night_without_a_value_is_told(tmp_path: Path) -> None:
    seeded(tmp_path, 3)
    wrong = cell([190.0], nodes=1, verdict=Verdict(status="INVALID", reasons=("wire",)))
    path = write_run(night_run(3, [wrong]), tmp_path / "run.json")
    out = command_here(tmp_path, "watch", str(path))
    assert "tiny-1 has no value tonight: INVALID" in out


def test_the_guilty_commit_is_asked_for() -> None:
    from pytest_dllama.cli.past.nightly import _page
    from pytest_dllama.cli.past.watch import bisection
    from pytest_dllama.history.accepted import Acceptance

    accepted = Acceptance(
        kind="accepted", run="r", engine="embedded", decided_utc="-", baseline=f"git:{'a' * 40}"
    )
    tonight = night_run(5, [cell([1.0])])
    told = bisection(accepted, tonight, ["--prompt", "a b"])
    assert told[1:] == [
        f"  git bisect start {5:040x}"[:31] + " aaaaaaaaaaaa",
        f"  git bisect run pytest-dllama bench --bisect --baseline git:{'a' * 40} --prompt 'a b'",
    ]
    night = Night(run="r", created_utc="-", status="REGRESSED")
    page = "\n".join(_page(tonight, night, [], told))
    assert "\n\nthe commit that did it is found by\n\n      git bisect start 00000" in page
    same = accepted.model_copy(update={"baseline": f"git:{5:040x}"})
    assert bisection(same, night_run(5, []), []) == [
        "both are one commit: what differs is not committed, or how it was built"
    ]
    other = accepted.model_copy(update={"baseline": "dllama:/x"})
    assert bisection(other, night_run(5, []), []) == []


@pytest.mark.parametrize("words", [["watch"], ["watch", "--nodes", "2"]])
def test_a_watch_without_a_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "the run file is missing" in capsys.readouterr().err


def test_an_alarm_in_the_ledger_can_be_read_back(tmp_path: Path) -> None:
    store = RunStore(tmp_path, CLUSTER)
    alarm = SeriesAlarm(
        cell="a|b", metric="tpot_ms", work="w", nights_since=3, step=0.08, score=5.0, limit=4.0
    )
    night = Night(run="r", created_utc="2026", alarms=(alarm,))
    nights_of(store).add(night)
    assert watched(store) == [night]
