"""A session against a stored run: other machines, other work and other models are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dllama.backends.base import Backend
from pytest_dllama.config.baseline import Comparison, parse_baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.accepted import Acceptance, acceptances
from pytest_dllama.history.run_files import read_run, write_run
from pytest_dllama.history.store import RunStore
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.lab.cells import Cell, CellKey, CheckFailed
from pytest_dllama.lab.engines import Engines
from pytest_dllama.lab.lab import Lab
from pytest_dllama.lab.pairs.stored_lab import StoredLab
from pytest_dllama.lab.progress import Silent
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import CellVerdict
from pytest_dllama.report.terminal.verdict import verdict_lines
from pytest_dllama.verdict.limits.thresholds import Thresholds
from tests.plugin.history.night_runs import slowed
from tests.plugin.lab.pairs.stated_times import PROGRAM, StatedTimes, config

KEY = CellKey("tiny", 1)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The file of a run of three repeats."""
    own = replace(config(tmp_path / "before"), repeats=3, engine="stated")
    lab = Lab(own, [KEY], Thresholds(), Engines(StatedTimes(1.0)), Silent())
    lab.cell(KEY)
    lab.stop()
    return lab.files.run_file


def _config(tmp_path: Path, baseline: str) -> LabConfig:
    comparison = Comparison(parse_baseline(baseline), (3,), "warn", None, is_bisect=False)
    return replace(
        config(tmp_path / "now"),
        repeats=3,
        engine="stated",
        comparison=comparison,
        history_folder=tmp_path / "history",
    )


def _lab(own: LabConfig, engine: Backend, *keys: CellKey) -> StoredLab:
    engines = Engines(engine, {}, LocalHosts())
    return StoredLab(own, keys or [KEY], Thresholds(), engines, Silent())


def _against(tmp_path: Path, stored: Path, engine: Backend) -> tuple[StoredLab, CellVerdict]:
    lab = _lab(_config(tmp_path, f"run:{stored}"), engine)
    lab.cell(KEY)
    lab.stop()
    found = lab.comparison(KEY)
    assert found is not None
    return lab, found


def _nights(tmp_path: Path, stored: Path, n: int = 12) -> None:
    """As many nights in the history, all quiet."""
    run = read_run(stored)
    store = RunStore(tmp_path / "history", run.fingerprint)
    for night in range(n):
        created = f"2026-01-{night + 1:02}T02:00:00Z"
        store.add(run.model_copy(update={"created_utc": created}))


def test_a_change_is_judged_where_nights_are_known(tmp_path: Path, stored: Path) -> None:
    _nights(tmp_path, stored)
    lab, found = _against(tmp_path, stored, StatedTimes(1.3))
    assert found.status == "REGRESSED"
    cell = Cell(lab.cell(KEY), {}, found)
    with pytest.raises(CheckFailed, match=r"REGRESSED: TPOT \+30.0% .*; unpaired, 3 stored and 3"):
        cell.check_metric("tpot_ms")
    verdict = lab.verdict()
    assert verdict is not None
    lines = "\n".join(verdict_lines(verdict))
    assert "unpaired: a stored run is of another time, so this is weaker than pairs" in lines
    assert f"run:{stored} of " in lines


def test_a_stored_run_that_was_slowed_down_is_called_so(tmp_path: Path, stored: Path) -> None:
    _changed(stored, slowed)
    lab, _ = _against(tmp_path, stored, StatedTimes(1.0))
    verdict = lab.verdict()
    assert verdict is not None
    assert verdict.base_label.endswith(", slowed down on purpose (tpot=50%)")


def test_without_nights_it_is_inconclusive(tmp_path: Path, stored: Path) -> None:
    _, found = _against(tmp_path, stored, StatedTimes(1.3))
    assert found.status == "INCONCLUSIVE"


def test_other_work_is_invalid(tmp_path: Path, stored: Path) -> None:
    short = PROGRAM.replace("range(9)", "range(5)")
    _, found = _against(tmp_path, stored, StatedTimes(1.0, program=short))
    assert found.status == "INVALID"
    assert "the stored run did other work: tokens in and out differ" in found.reasons[0]


def _changed(stored: Path, change: Callable[[RunRecord], RunRecord]) -> None:
    write_run(change(read_run(stored)), stored)


def test_other_bytes_of_a_model_of_the_same_size_are_invalid(tmp_path: Path, stored: Path) -> None:
    def other(digest: str | None) -> Callable[[RunRecord], RunRecord]:
        return lambda run: run.model_copy(
            update={"models": tuple(m.model_copy(update={"digest": digest}) for m in run.models)}
        )

    assert len(read_run(stored).models[0].digest or "") == 32
    _changed(stored, other("0" * 32))
    _, found = _against(tmp_path, stored, StatedTimes(1.0))
    assert found.status == "INVALID"
    assert "the bytes of tiny's file are others (digest 0000" in found.reasons[0]
    _changed(stored, other(None))  # an older run does not tell
    _, found = _against(tmp_path, stored, StatedTimes(1.0))
    assert found.status != "INVALID"


def test_another_model_of_the_same_name_is_invalid(tmp_path: Path, stored: Path) -> None:
    def other_bytes(run: RunRecord) -> RunRecord:
        models = tuple(m.model_copy(update={"size_bytes": 7}) for m in run.models)
        return run.model_copy(update={"models": models})

    _changed(stored, other_bytes)
    _, found = _against(tmp_path, stored, StatedTimes(1.0))
    assert found.status == "INVALID"
    assert "model.size_bytes is 7 there and" in found.reasons[0]


def test_a_cell_that_the_stored_run_lacks_is_invalid(tmp_path: Path, stored: Path) -> None:
    _changed(
        stored,
        lambda run: run.model_copy(
            update={"cells": (run.cells[0].model_copy(update={"nodes": 2}),)}
        ),
    )
    own = _config(tmp_path, f"run:{stored}")
    lab = _lab(own, StatedTimes(1.0), KEY, CellKey("tiny", 2))
    lab.cell(KEY)
    lab.stop()
    found = lab.comparison(KEY)
    assert found is not None
    assert found.status == "INVALID"
    assert found.reasons == ("the stored run has no cell tiny-1; it has tiny-2",)
    with pytest.raises(ConfigError, match=r"no cell of this run \(tiny-1\); it has tiny-2$"):
        _lab(own, StatedTimes(1.0))  # before it measures what nothing is compared with


def test_other_machines_and_other_requests_are_usage_errors(tmp_path: Path, stored: Path) -> None:
    own = _config(tmp_path, f"run:{stored}")
    with pytest.raises(ConfigError, match="it did other work: steps is 32 there and 40 here"):
        _lab(replace(own, steps=40), StatedTimes(1.0))
    _changed(stored, lambda run: run.model_copy(update={"fingerprint": "pi-cluster"}))
    with pytest.raises(ConfigError, match="it was measured on pi-cluster, and these are local-"):
        _lab(own, StatedTimes(1.0))
    with pytest.raises(ConfigError, match=r"--baseline run:/no/run.json: .*cannot be read"):
        _lab(_config(tmp_path, "run:/no/run.json"), StatedTimes(1.0))


def test_the_accepted_run(tmp_path: Path, stored: Path) -> None:
    own = _config(tmp_path, "accepted")
    with pytest.raises(ConfigError, match="no run of the engine stated was accepted on this clus"):
        _lab(own, StatedTimes(1.0))
    run = read_run(stored)
    store = RunStore(tmp_path / "history", run.fingerprint)
    entry = Acceptance(
        kind="accepted", run=store.add(run), engine="stated", decided_utc="2026-01-01T00:00:00Z"
    )
    acceptances(store).add(entry)
    lab = _lab(own, StatedTimes(1.0))
    lab.cell(KEY)
    found = lab.comparison(KEY)
    assert found is not None
    assert found.status == "INCONCLUSIVE"  # of one night nothing is known
    assert found.same_tokens
