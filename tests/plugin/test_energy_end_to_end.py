"""`pytest --power FILE`: one run with a meter's file, seen in everything that it writes."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.exports.llmd import llmd_reports
from pytest_dllama.exports.openmetrics import openmetrics_text
from pytest_dllama.history.run_files import read_run, write_run
from pytest_dllama.metrics.catalog import ENERGY
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.pages.markdown import render
from tests.data import ROOT, RUNS
from tests.plugin.real_runs import SMALL_MODEL, RealRun

WATTS = 4.0
LIMITS = "[models.'*']\nj_per_token = { max = 0.0000001 }\n"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[RealRun, RunRecord]:
    folder = tmp_path_factory.mktemp("energy")
    start_s = time.time() - 10
    # For ten minutes: the first run on a machine compiles the kernels, with others beside it.
    rows = (f"{start_s + n / 100:.3f},{WATTS}\n" for n in range(100 * 600))
    (folder / "meter.csv").write_text("time,power_w\n" + "".join(rows))
    (folder / "limits.toml").write_text(LIMITS)
    run = RealRun(folder)
    options = ["--models", SMALL_MODEL, "--nodes", "1,2", "--repeats", "2", "--warmup", "0"]
    # Slowed down: a quick machine is done before such a meter has been read three times.
    options += ["--steps", "60", "--inject", "tpot=5ms", "--report-format", "md", "-k", "energy"]
    options += ["--history", "off", "--thresholds", str(folder / "limits.toml")]
    options += ["--power", str(folder / "meter.csv"), "--csv", str(folder / "samples.csv")]
    run.start([str(ROOT / "suites"), *options])
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    return run, read_run(run.report / "run.json")


def test_energy_is_power_times_the_measured_window(measured) -> None:
    _, run = measured
    (power,) = run.power
    assert (power.source, power.detail, power.idle_w) == (
        *("meter", "meter.csv", pytest.approx(WATTS)),
    )
    for cell in run.cells:
        for sample in cell.samples:
            assert sample.request_j == pytest.approx(WATTS * sample.rct_s, rel=1e-3)
        j_per_token = WATTS * cell.metrics["tpot_ms"].value / 1e3
        assert cell.metrics["j_per_token"].value == pytest.approx(j_per_token, rel=1e-3)
        per_w = cell.metrics["tokens_per_s"].value / WATTS
        assert cell.metrics["tokens_per_s_per_w"].value == pytest.approx(per_w, rel=1e-3)
        assert cell.energy.j_per_token_above_idle == pytest.approx(0.0, abs=1e-5)


def test_a_limit_on_energy_is_judged(measured) -> None:
    run, record = measured
    assert {cell.verdict.status for cell in record.cells} == {"FAIL"}
    assert "j_per_token = " in run.output
    assert " J, limit <= 1e-07 J" in run.output


def test_the_report_has_a_section_in_both_languages(measured) -> None:
    run, _ = measured
    english = (run.report / "report.en.md").read_text(encoding="utf-8")
    korean = (run.report / "report.ko.md").read_text(encoding="utf-8")
    titles = "Model Nodes J/token above idle (J/token) J/request Mean power (W) Idle (W)"
    assert titles in " ".join(english.replace("|", " ").split())
    assert "Power of this machine: the meter's file meter.csv; idle 4" in english
    titles = "모델 노드 수 J/토큰 유휴 제외 (J/토큰) J/요청 평균 전력 (W) 유휴 전력 (W)"
    assert titles in " ".join(korean.replace("|", " ").split())
    assert "이 기기의 전력: 전력계 파일 meter.csv; 유휴 전력 4" in korean
    assert "this machine" not in korean


def test_exports_carry_it(measured) -> None:
    run, record = measured
    text = openmetrics_text(record)
    assert "# HELP dllama_token_energy_joules energy of all machines of the cell from" in text
    assert "\ndllama_request_energy_joules{" in text
    assert "\ndllama_tokens_per_joule{" in text
    (report, _) = llmd_reports(record).values()
    assert "power_consumption:" in report
    assert "units: Watts" in report
    with (run.report.parent / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["request_j"]) > float(row["decode_j"]) > 0 for row in rows)
    assert all(float(row["start_epoch_s"]) > 1.7e9 for row in rows)


def test_a_meters_file_that_comes_after_the_run_gives_the_same(measured, tmp_path, capsys) -> None:
    run, record = measured
    bare = record.model_copy(
        update={
            "power": (),
            "cells": tuple(
                cell.model_copy(
                    update={
                        "energy": None,
                        "metrics": {n: v for n, v in cell.metrics.items() if n not in ENERGY},
                        "samples": tuple(
                            sample.model_copy(update={"request_j": None, "decode_j": None})
                            for sample in cell.samples
                        ),
                    }
                )
                for cell in record.cells
            ),
        }
    )
    write_run(bare, tmp_path / "bare.json")
    meter = str(run.report.parent / "meter.csv")
    output = tmp_path / "energy.json"
    assert main(["energy", str(tmp_path / "bare.json"), "--power", meter, "-o", str(output)]) == 0
    assert "llama_q40-2: 0.0" in capsys.readouterr().out
    later = read_run(output)
    for cell, live in zip(later.cells, record.cells, strict=True):
        for name in ENERGY:
            assert cell.metrics[name].value == pytest.approx(live.metrics[name].value)
    assert later.power[0].idle_w is None  # nobody knows when nothing ran
    assert "idle power is not known" in render(later, "en")


def test_a_run_that_does_not_tell_when_it_was_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "meter.csv").write_text("time,power_w\n1,1\n")
    old = sorted(RUNS.glob("*.json"))[0]
    words = ["energy", str(old), "--power", str(tmp_path / "meter.csv")]
    assert main([*words, "-o", str(tmp_path / "out.json")]) == 2
    assert "does not tell when its requests were" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
