"""A session in pairs: the new side's records, a verdict beside them, tests that fail with words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dllama.backends.base import Backend
from pytest_dllama.config.baseline import Comparison, parse_baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.verdict_files import read_verdict, verdict_beside
from pytest_dllama.lab.cells import Cell, CellKey, CheckFailed
from pytest_dllama.lab.engines import Engines
from pytest_dllama.lab.lab import Lab
from pytest_dllama.lab.pairs.paired_lab import PairedLab
from pytest_dllama.lab.pairs.side import Side
from pytest_dllama.lab.progress import Silent
from pytest_dllama.verdict.limits.thresholds import Thresholds
from pytest_dllama.verdict.limits.thresholds_file import parse_thresholds
from tests.plugin.lab.pairs.stated_times import PROGRAM, StatedTimes, config

KEY = CellKey("tiny", 1)


def _config(tmp_path: Path, **more: object) -> LabConfig:
    comparison = Comparison(parse_baseline("self"), (3, 5), "warn", 7, is_bisect=False)
    own = replace(
        config(tmp_path / "report"),
        comparison=comparison,
        history_folder=tmp_path / "history",
    )
    return replace(own, **more)  # type: ignore[arg-type]


def _lab(
    tmp_path: Path,
    base: Backend,
    new: Backend,
    limits: dict[str, object] | None = None,
    **more: object,
) -> PairedLab:
    settings = _config(tmp_path, **more)
    sides = (Side("base", "before", base, settings), Side("new", "after", new, settings))
    thresholds = parse_thresholds(limits, "limits.toml") if limits else Thresholds()
    return PairedLab(settings, [KEY], thresholds, Silent(), sides)


def _cell(lab: Lab) -> Cell:
    record = lab.cell(KEY)
    return Cell(record, lab.cannot_give, lab.comparison(KEY))


def test_the_records_are_the_new_sides_and_the_verdict_lies_beside(tmp_path: Path) -> None:
    lab = _lab(tmp_path, StatedTimes(1.0), StatedTimes(1.3))
    record = lab.cell(KEY)
    lab.stop()
    assert [sample.tpot_ms for sample in record.samples] == pytest.approx([13.0] * 3, rel=1e-3)
    assert record.output is not None
    assert record.verdict is not None
    assert all(".new.root." in name for name in record.logs)
    run = read_run(lab.files.run_file)
    assert run.request.repeats == 3
    found = read_verdict(tmp_path / "report/verdict.json")
    assert verdict_beside(run, tmp_path / "report") == found == lab.verdict()
    assert (found.status, found.base_label, found.new_label) == ("REGRESSED", "before", "after")
    assert (found.seed, found.looks, found.cells[0].id) == (7, (3, 5), "tiny-1")


def test_a_regressed_metric_fails_its_test_with_effect_interval_and_noise(tmp_path: Path) -> None:
    cell = _cell(_lab(tmp_path, StatedTimes(1.0), StatedTimes(1.3)))
    with pytest.raises(CheckFailed) as caught:
        cell.check_metric("tpot_ms")
    words = str(caught.value)
    assert words.startswith("tiny-1: REGRESSED: TPOT +30.0% (+30.0..+30.0), tolerated 5.0%")
    assert "surely worse, by 30.0% or more; 3 pairs, one varies by 0.0%" in words
    cell.check_metric("tokens_per_s")  # not compared, no limit


def test_a_fixed_limit_is_told_beside_the_regression(tmp_path: Path) -> None:
    limits = {"defaults": {"tpot_ms": 12}}
    cell = _cell(_lab(tmp_path, StatedTimes(1.0), StatedTimes(1.3), limits))
    with pytest.raises(CheckFailed) as caught:
        cell.check_metric("tpot_ms")
    first, steady, limit = str(caught.value).splitlines()
    assert "REGRESSED: TPOT +30.0%" in first
    assert "REGRESSED: steady TPOT +30.0%" in steady  # the same time, of the faster tokens
    assert "limit <= 12 ms" in limit
    assert cell.comparison is not None
    assert cell.comparison.status == "REGRESSED"
    assert "limit <= 12 ms" in cell.comparison.reasons[0]


def test_a_missed_limit_alone_makes_the_verdict_fail(tmp_path: Path) -> None:
    lab = _lab(tmp_path, StatedTimes(1.0), StatedTimes(1.0), {"defaults": {"tpot_ms": 5}})
    lab.cell(KEY)
    found = lab.verdict()
    assert found is not None
    assert found.status == "FAIL"
    assert {verdict.status for verdict in found.cells[0].metrics} == {"PASS"}


def test_a_base_that_did_other_work_fails_the_compared_metrics_only(tmp_path: Path) -> None:
    short = PROGRAM.replace("range(9)", "range(5)")
    cell = _cell(_lab(tmp_path, StatedTimes(1.0, program=short), StatedTimes(1.0)))
    with pytest.raises(CheckFailed, match="INVALID against the base: the sides did different work"):
        cell.check_metric("ttft_s")
    cell.check_metric("tokens_per_s")


def test_a_base_that_breaks_is_the_cells_error(tmp_path: Path) -> None:
    broken = "import sys; sys.exit('no such instruction')"
    lab = _lab(tmp_path, StatedTimes(1.0, program=broken), StatedTimes(1.0))
    record = lab.cell(KEY)
    assert record.status == "failed"
    assert "no such instruction" in str(record.error)
    found = lab.verdict()
    assert found is not None
    assert found.status == "ERROR"


def test_what_is_broken_off_from_outside_is_an_error_of_the_verdict(tmp_path: Path) -> None:
    lab = _lab(tmp_path, StatedTimes(1.0), StatedTimes(1.0))
    lab.give_up(KEY, "Timeout >1.0s")
    found = json.loads((tmp_path / "report/verdict.json").read_text())
    assert found["status"] == "ERROR"
    assert found["cells"][0]["reasons"] == ["Timeout >1.0s"]


def test_a_verdict_goes_to_the_archive_with_its_run(tmp_path: Path) -> None:
    _lab(tmp_path, StatedTimes(1.0), StatedTimes(1.3)).cell(KEY)
    plain = Lab(
        config(tmp_path / "report"), [KEY], Thresholds(), Engines(StatedTimes(1.0)), Silent()
    )
    plain.cell(KEY)
    plain.stop()
    assert not (tmp_path / "report/verdict.json").exists()
    kept = {path.suffix for path in (tmp_path / "report/history").iterdir()}
    assert kept == {".json", ".verdict"}


@pytest.mark.parametrize("keeps", [True, False])
def test_noise_is_kept_where_a_history_is(tmp_path: Path, *, keeps: bool) -> None:
    lab = _lab(tmp_path, StatedTimes(1.0), StatedTimes(1.0), keeps_history=keeps)
    lab.cell(KEY)
    found = lab.verdict()
    assert found is not None
    known = NoisePriors(tmp_path / "history", found.fingerprint).groups("tpot_ms")
    assert len(known) == (1 if keeps else 0)
