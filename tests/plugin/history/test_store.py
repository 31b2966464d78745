"""The runs of a cluster, and which of them were accepted: real processes write them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_dllama.history.accepted import (
    Acceptance,
    acceptances,
    latest,
    objections,
    protected,
    stored,
)
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.store import HistoryError, Keep, RunStore, name_of
from pytest_dllama.record.cell import OutputRecord, Verdict
from pytest_dllama.record.run import RunRecord
from tests.data import REPORTS, ROOT

WRITER = [sys.executable, "-m", "tests.plugin.history.history_writer"]


def run_of(day: int, year: int = 2026) -> RunRecord:
    run = read_run(REPORTS / "one_model.json")
    return run.model_copy(update={"created_utc": f"{year}-02-{day:02}T01:00:00Z"})


def accept(store: RunStore, name: str, **changes: str) -> None:
    values = {"kind": "accepted", "engine": "embedded", "decided_utc": "2026-02-01T00:00:00Z"}
    acceptances(store).add(Acceptance.model_validate({**values, "run": name, **changes}))


def start(folder: Path, first: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*WRITER, str(folder), str(first), str(count)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_a_run_is_kept_once_under_its_time(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    names = [store.add(run_of(day)) for day in (2, 1, 2)]
    assert names[0] == names[2]
    assert store.names() == sorted(set(names))
    assert [found.run.created_utc[:10] for found in store.runs()] == ["2026-02-01", "2026-02-02"]
    assert store.read(names[1]) == run_of(1)


def test_a_run_with_names_that_are_no_utf8_is_kept_too(tmp_path: Path) -> None:
    odd = run_of(1).model_copy(update={"notes": ("a path \udcff",)})
    store = RunStore(tmp_path, "cluster")
    name = store.add(odd)
    kept = store.read(name)
    assert kept.notes == ("a path \ufffd",)
    assert (store.add(kept), name_of(odd)) == (name, name)


def test_a_run_is_serialized_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump, dumped = RunRecord.model_dump_json, []

    def count(run: RunRecord, **how: int) -> str:
        dumped.append(run)
        return dump(run, indent=how["indent"])

    monkeypatch.setattr(RunRecord, "model_dump_json", count)
    RunStore(tmp_path, "cluster").add(run_of(1))
    assert len(dumped) == 1


def test_concurrent_processes_lose_nothing(tmp_path: Path) -> None:
    writers = [start(tmp_path, 1000 * n, 25) for n in range(4)]
    told = [name for writer in writers for name in writer.communicate(timeout=900)[0].split()]
    store = RunStore(tmp_path, "cluster")
    assert len(told) == 100
    assert store.names() == sorted(told)
    assert len(list(store.runs())) == 100
    assert {entry.run for entry in acceptances(store).entries()} == set(told)


def test_a_killed_process_loses_nothing_that_it_told_of(tmp_path: Path) -> None:
    told: list[str] = []
    for n in range(6):
        writer = start(tmp_path, 1000 * n, 900)
        assert writer.stdout is not None
        told += [writer.stdout.readline().strip() for _ in range(3 + n)]
        time.sleep(0.003 * n)  # die at another place of the loop each time
        writer.kill()
        told += [line for line in writer.communicate()[0].split("\n")[:-1] if line]
    store = RunStore(tmp_path, "cluster")
    assert len(told) > 20
    assert set(told) <= set(store.names())
    assert len(list(store.runs())) == len(store.names())  # none is half a file
    assert set(told) <= {entry.run for entry in acceptances(store).entries()}
    assert store.unreadable() == []


def test_a_run_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    with pytest.raises(HistoryError, match="the history of cluster has no run"):
        store.find("last")
    first, second = (store.add(run_of(day)) for day in (1, 2))
    assert store.find("last").name == second
    assert store.find("20260201").name == first
    with pytest.raises(HistoryError, match=f"several runs begin with '2026'.*{first}, {second}"):
        store.find("2026")
    with pytest.raises(HistoryError, match=r"no run begins with .x.*`pytest-dllama history` lists"):
        store.find("x")


def test_retention_by_number_and_age_leaves_what_was_decided_on(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    old = store.add(run_of(1, year=2001))
    anchor = store.add(run_of(2, year=2001))
    young = [store.add(run_of(day, year=2999)) for day in range(1, 6)]
    accept(store, anchor, kind="anchor")
    assert store.prune(Keep(runs=100, days=500_000), protected(store)) == []
    assert store.prune(Keep(runs=3, days=730), protected(store)) == [old, *young[:2]]
    assert store.names() == [anchor, *young[2:]]


def test_a_clock_that_is_years_ahead_makes_no_run_old(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    right = [store.add(run_of(day)) for day in range(1, 5)]
    ahead = [store.add(run_of(1, year=2031)), store.add(run_of(2, year=2031))]
    assert store.prune(Keep(), ()) == []
    assert store.names() == [*right, *ahead]


def test_half_written_files_are_swept_after_a_day(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    path = store.path(store.add(run_of(1)))
    old, new = path.with_name(".old.json.1"), path.with_name(".new.json.2")
    for half in (old, new):
        half.write_text("{")
    os.utime(old, (1, 1))
    store.prune(Keep(days=100_000), ())
    assert (old.exists(), new.exists(), path.exists()) == (False, True, True)


def test_a_damaged_run_is_passed_over_and_named(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    names = [store.add(run_of(day)) for day in (1, 2)]
    store.path(names[0]).write_text("{")
    assert [found.name for found in store.runs()] == names[1:]
    (why,) = store.unreadable()
    assert f"{names[0]}.json: not a JSON file" in why


def accepted_of(store: RunStore, engine: str | None = None) -> RunRecord | None:
    found = stored(store, "accepted", engine)
    return found.run if found else None


def test_the_newest_decision_of_an_engine_counts(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    first, second, third = (store.add(run_of(day)) for day in (1, 2, 3))
    assert accepted_of(store) is None
    accept(store, second)
    accept(store, first)
    accept(store, third, engine="dllama")
    assert accepted_of(store, "embedded") == run_of(1)
    assert accepted_of(store, "dllama") == run_of(3)
    assert accepted_of(store) == run_of(3)
    assert accepted_of(RunStore(tmp_path, "another")) is None
    assert latest(store, "anchor") is None
    store.path(first).unlink()
    assert accepted_of(store, "embedded") is None


def test_a_decision_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    store = RunStore(tmp_path, "cluster")
    name = store.add(run_of(1))
    accept(store, name)
    later = acceptances(store).entries()[0].model_dump_json().replace(":1,", ":99,", 1)
    (store.cluster / "accepted" / "9.json").write_text(later)
    (store.cluster / "accepted" / "8.json").write_text("[" * 100_000)
    assert [entry.run for entry in acceptances(store).entries()] == [name]


def test_what_is_wrong_is_no_reference() -> None:
    run = run_of(1)
    assert objections(run) == []
    assert objections(run.model_copy(update={"cells": ()})) == ["the run has no cell"]
    request = run.request.model_copy(update={"inject": "tpot=5%"})
    slowed = run.model_copy(update={"request": request})
    assert objections(slowed) == ["the run was slowed down on purpose (--inject tpot=5%)"]
    cell = run.cells[0]
    invalid = cell.model_copy(
        update={"verdict": Verdict(status="INVALID", reasons=("wire: one byte more",))}
    )
    failed = cell.model_copy(update={"status": "failed", "error": "rank 1 ended"})
    faulty = cell.model_copy(
        update={"output": OutputRecord(text="", token_ids=(), status="engine_fault", note="NaN")}
    )
    for wrong, why in (
        (invalid, "INVALID: wire: one byte more"),
        (failed, "rank 1 ended"),
        (faulty, "the output shows a fault of the engine: NaN"),
    ):
        assert objections(run.model_copy(update={"cells": (wrong,)})) == [f"{cell.id}: {why}"]
