"""A hand-written scaling report: its figures as printed, and what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.files.user_files import SETTINGS_BYTES
from pytest_dllama.forensics.import_report import import_report
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from tests.plugin.forensics.written_report import CELLS, FACTS, as_markdown


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "scaling.ko.md"
    path.write_text(as_markdown(FACTS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(report: Path) -> RunRecord:
    return import_report(report)


def cell_of(run: RunRecord, facts: dict[str, Any]) -> CellRecord:
    (cell,) = [c for c in run.cells if (c.model, c.nodes) == (facts["model"], facts["nodes"])]
    return cell


@pytest.mark.parametrize("facts", CELLS, ids=lambda c: f"{c['model']}-{c['nodes']}")
def test_every_figure_is_the_printed_one(run: RunRecord, facts: dict[str, Any]) -> None:
    cell = cell_of(run, facts)
    (sample,) = cell.samples
    for name in ("ttft_s", "tpot_ms", "rct_s", "tokens_per_s"):
        assert cell.metrics[name].value == facts[name]
        assert getattr(sample, name) == facts[name]
    assert (sample.n_input_tokens, sample.n_output_tokens) == (7, 122)
    n, _, ms = facts["evaluation"]
    assert sample.prefill_tokens == n
    assert sample.prefill_s == pytest.approx(n * ms / 1e3)
    assert cell.metrics["decode_tokens_per_s"].value == facts["prediction"][1]
    network = cell.network
    assert network is not None
    assert network.operations == facts["operations"]
    assert network.total_bytes == pytest.approx(facts["total_mb"] * 2**20, abs=1)
    for name in ("avg_ms", "max_ms", "min_ms", "bandwidth_mbps"):
        assert getattr(network, name) == facts[name]
    assert [network.p50_ms, network.p95_ms, network.p99_ms] == facts["percentiles_ms"]
    assert [[o.op, o.operations, round(o.bytes / 2**20, 2), o.avg_ms] for o in network.ops] == (
        facts["operation_lines"]
    )
    assert cell.verdict is not None
    assert cell.verdict.status == "PASS"


def test_memory_is_what_was_written_and_missing_where_it_was_not(run: RunRecord) -> None:
    found = {
        cell.id: [
            cell.metrics[f"{role}_peak_rss_bytes"].value / 1e9
            if f"{role}_peak_rss_bytes" in cell.metrics
            else None
            for role in ("root", "worker")
        ]
        for cell in run.cells
    }
    assert found == {
        "Llama-13B-2": [7.338, 6.713],
        "Llama-13B-4": [None, None],
        "Llama-13B-8": [None, None],
        "Llama-30B-2": [12.0, 1.0],
        "Llama-30B-4": [6.739, 5.926],
        "Llama-30B-8": [3.782, 2.97],
    }


def test_request_and_models(run: RunRecord) -> None:
    request = run.request
    assert (request.prompt, request.steps, request.nthreads) == ("Hello world", 128, 4)
    assert (request.buffer_float_type, request.node_counts) == ("q80", (2, 4, 8))
    assert request.host_kind == "log"
    assert [(m.name, m.dim, m.n_layers, m.n_heads, m.model_file) for m in run.models] == [
        ("Llama-13B", 5120, 40, 40, "dllama_model_llama-13b_q40.m"),
        ("Llama-30B", 6656, 60, 52, "dllama_model_llama-30b_q40.m"),
    ]


def test_notes_say_what_is_wrong_with_it(run: RunRecord) -> None:
    crossed = {
        "Llama-13B-2": "169.7", "Llama-13B-4": "816.1", "Llama-13B-8": "3,378.1",
        "Llama-30B-2": "321.8", "Llama-30B-4": "1,575.4", "Llama-30B-8": "6,562.8",
    }  # fmt: skip
    text = "\n".join(run.notes)
    for cell, amount in crossed.items():
        assert f"{cell}: {amount} MiB crossed the root's links" in text
    assert text.count("closed form with 4 threads gives its figures to the last digit") == 6
    assert "the first 50 operations only" in text
    assert "the last operation alone" in text
    assert [note for note in run.notes if "do not divide" in note] == [
        "Llama-30B-8: 52 heads do not divide by 8 nodes, which dllama wants: these figures cannot "
        "come from an unmodified build; taken as reported, not as proven."
    ]
    listed = [note for note in run.notes if "command line names" in note]
    assert [note.partition(":")[0] for note in listed] == ["Llama-30B-2", "Llama-30B-4"]
    assert "names 2 workers, 2 nodes with the root have 1" in listed[0]
    (memory,) = [note for note in run.notes if "share of the weights" in note]
    assert memory.startswith("Llama-30B-2: 1.0 GB are told of the worker, whose share")


def test_a_figure_that_contradicts_the_others_is_told(tmp_path: Path) -> None:
    wrong = FACTS | {"cell": [CELLS[0] | {"tpot_ms": 1295.59, "tokens_per_s": 0.9}]}
    path = tmp_path / "r.md"
    path.write_text(as_markdown(wrong), encoding="utf-8")
    text = "\n".join(import_report(path).notes)
    assert "TPOT is printed as 1295.59 ms, (RCT - TTFT) / (tokens - 1) is 1195.67 ms" in text
    assert "Tokens/s are printed as 0.9, output tokens / RCT are 0.801" in text
    assert "TPOT is printed" not in "\n".join(import_report(_written(tmp_path, FACTS)).notes)


def _written(folder: Path, facts: dict[str, Any]) -> Path:
    path = folder / "whole.md"
    path.write_text(as_markdown(facts), encoding="utf-8")
    return path


def test_a_cell_without_its_times_is_an_error(tmp_path: Path) -> None:
    text = as_markdown(FACTS).replace("- RCT_S: 152.345\n", "")
    path = tmp_path / "r.md"
    path.write_text(text, encoding="utf-8")
    cell = import_report(path).cells[0]
    assert cell.status == "failed"
    assert cell.error == "the report lacks rct_s of this cell"


def test_the_command_writes_a_run_file_and_keeps_an_old_one(report, tmp_path, capsys) -> None:
    output = tmp_path / "run.json"
    assert main(["import-report", str(report), "-o", str(output)]) == 0
    assert "Llama-30B, 8 nodes: 0.18 tokens/s" in capsys.readouterr().out
    assert len(read_run(output).cells) == 6
    assert main(["import-report", str(report), "-o", str(output)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"# a page\n\n## of something else\n", "no section of measured figures"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "x.md"
    path.write_bytes(content)
    with pytest.raises(ImportLogError, match=why):
        import_report(path)


def test_a_file_beyond_reason_a_folder_and_a_pipe_are_no_reports(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large.md", tmp_path / "pipe.md"
    large.write_bytes(b" " * (SETTINGS_BYTES + 1))
    os.mkfifo(pipe)
    for path, why in (
        (large, f"has {SETTINGS_BYTES + 1} bytes, at most 16 MiB are read"),
        (tmp_path, "Is a directory"),
        (pipe, r"is a pipe \(FIFO\); give a regular file"),
    ):
        with pytest.raises(OSError, match=why):
            import_report(path)
