"""A run file in other tools' formats: read back with their own parsers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from llmd_benchmark_report import load_benchmark_report
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pytest_dllama.cli.main import main
from pytest_dllama.exports.jsonl import jsonl_lines
from pytest_dllama.exports.llmd import llmd_reports
from pytest_dllama.exports.openmetrics import openmetrics_text
from pytest_dllama.history.run_files import read_run, write_run
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import Estimate
from pytest_dllama.record.run import RunRecord
from tests.data import REPORTS, ROOT
from tests.plugin.history.night_runs import slowed

RUN = REPORTS / "two_models.json"


@pytest.fixture(scope="module")
def run() -> RunRecord:
    return read_run(RUN)


def test_an_export_says_that_a_run_was_slowed_down_on_purpose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_run(slowed(read_run(RUN)), tmp_path / "run.json")
    assert main(["export", str(path)]) == 0
    told = capsys.readouterr()
    assert "run.json was slowed down on purpose (--inject tpot=50%); its figures are" in told.err
    assert told.out


def test_a_line_a_request(run: RunRecord) -> None:
    first, *rest = map(json.loads, jsonl_lines(run))
    assert first["record"] == "run"
    assert first["definitions"] == run.definitions
    measured = [(cell, sample) for cell in run.cells for sample in cell.samples]
    assert [line["cell"] for line in rest if "error" not in line] == [c.id for c, _ in measured]
    for line, (cell, sample) in zip((r for r in rest if "error" not in r), measured, strict=True):
        assert (line["model"], line["nodes"]) == (cell.model, cell.nodes)
        assert line["ttft_s"] == sample.ttft_s
        assert line["itl_ms"] == list(sample.itl_ms)


def test_openmetrics_are_what_its_parser_reads(run: RunRecord) -> None:
    text = openmetrics_text(run)
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    cell = next(cell for cell in run.cells if cell.samples)
    (tpot,) = [
        sample
        for sample in families["dllama_tpot_seconds"].samples
        if (sample.labels["model"], sample.labels["nodes"]) == (cell.model, str(cell.nodes))
    ]
    assert tpot.value == pytest.approx(cell.metrics["tpot_ms"].value / 1e3)
    assert tpot.timestamp is not None
    assert tpot.labels["cluster"] == (run.fingerprint or "")
    ones = [s for s in families["dllama_verdict"].samples if s.value == 1]
    assert [s.labels["verdict"] for s in ones] == [c.verdict.status for c in run.cells if c.verdict]
    bandwidth = [c.metrics.get("bandwidth_mbps") for c in run.cells]
    found = families["dllama_bandwidth_bits_per_second"].samples
    assert [s.value for s in found] == [b.value * 1e6 for b in bandwidth if b]


def test_hostile_names_are_labels_all_the_same(run: RunRecord) -> None:
    name = 'a"b\\c\nd{}'
    cells = (run.cells[0].model_copy(update={"model": name}),)
    text = openmetrics_text(run.model_copy(update={"cells": cells}))
    labels = {s.labels["model"] for f in text_string_to_metric_families(text) for s in f.samples}
    assert labels == {name}


def test_llmd_reports_are_valid_by_their_own_library(run: RunRecord) -> None:
    reports = llmd_reports(run)
    assert reports.keys() == {cell.id for cell in run.cells if cell.samples}
    for cell in (cell for cell in run.cells if cell.samples):
        found = load_benchmark_report(yaml.safe_load(reports[cell.id])).dump()
        latency = found["results"]["request_performance"]["aggregate"]["latency"]
        assert latency["time_per_output_token"]["p50"] == cell.metrics["tpot_ms"].value
        assert latency["time_per_output_token"]["units"] == "ms/token"
        assert latency["request_latency"]["p50"] == cell.metrics["rct_s"].value
        (engine,) = found["scenario"]["stack"]
        assert engine["standardized"]["accelerator"]["parallelism"]["tp"] == cell.nodes


@pytest.mark.parametrize(
    ("kind", "module", "named"),
    [
        ("openmetrics", "prometheus_client", "prometheus_client"),
        ("llmd", "llmd_benchmark_report", "llmd-benchmark-report"),
    ],
)
def test_without_their_library_the_extra_is_named(kind, module, named, monkeypatch, capsys) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["export", str(RUN), "--format", kind]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "pip install 'pytest-dllama[exports]'" in said


@pytest.mark.parametrize("kind", ["jsonl", "openmetrics"])
def test_the_command_writes_to_a_file_or_to_standard_output(kind, tmp_path, capsys) -> None:
    assert main(["export", str(RUN), "--format", kind]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "out"
    assert main(["export", str(RUN), "--format", kind, "-o", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == printed != ""
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_reports_and_tables_need_a_place(tmp_path, capsys) -> None:
    assert main(["export", str(RUN), "--format", "llmd", "-o", str(tmp_path / "r")]) == 0
    assert {path.suffix for path in (tmp_path / "r").iterdir()} == {".yaml"}
    assert main(["export", str(RUN), "--format", "csv"]) == 2
    assert "csv needs a file: add -o FILE.csv" in capsys.readouterr().err


def test_the_example_dashboard_asks_for_metrics_that_are_exported(run: RunRecord) -> None:
    dashboard = json.loads((ROOT / "docs/grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"dllama_\w+", target["expr"])
    }
    every = {name: Estimate(value=1, minimum=1, maximum=1, n=1) for name in METRICS}
    cells = (run.cells[0].model_copy(update={"metrics": every}),)
    text = openmetrics_text(run.model_copy(update={"cells": cells}))
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {"dllama_bytes_per_token", "dllama_tokens_per_s"} <= families
    assert asked
    assert asked <= families


def test_a_name_without_end_is_a_file_all_the_same(run: RunRecord, tmp_path: Path) -> None:
    names = ("한" * 300, "한" * 300 + "2", "a/b\nc")
    cells = tuple(run.cells[0].model_copy(update={"model": name}) for name in names)
    path = tmp_path / "run.json"
    write_run(run.model_copy(update={"cells": cells}), path)
    assert main(["export", str(path), "--format", "llmd", "-o", str(tmp_path / "out")]) == 0
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert len(files) == 3
    assert files[0].startswith("a_b_c-")


def test_a_missing_run_file_is_one_line(tmp_path: Path, capsys) -> None:
    assert main(["export", str(tmp_path / "no.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert main(["export", str(RUN), "-o", str(pipe)]) == 0
        assert reader.stdout is not None
        first = json.loads(reader.stdout.readline())
    assert first["record"] == "run"
    assert pipe.is_fifo()
