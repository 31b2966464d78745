"""A hand-written scaling report: its figures as printed, and what is wrong with them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.forensics.import_report import LARGEST_BYTES, import_report
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from tests.data import REPORTS

FACTS: dict[str, Any] = tomllib.loads((REPORTS / "scaling_13b_30b.toml").read_text("utf-8"))
CELLS: list[dict[str, Any]] = FACTS["cell"]
NO_DATA = "측정 데이터 없음"


def as_markdown(facts: dict[str, Any]) -> str:
    """The facts in the form in which people write such a report."""
    models = dict.fromkeys(cell["model"] for cell in facts["cell"])
    quoted = {
        key: ", ".join(f"`{name}`" for name in facts[key]) for key in ("models", "tokenizers")
    }
    lines = [
        "# 분산 LLM 스케일링 보고서", "", "**테스트 환경:**",
        f"- 모델: {quoted['models']}", f"- 토크나이저: {quoted['tokenizers']}",
        f"- 버퍼 타입: `{facts['buffer_float_type']}`", f'- 프롬프트: "{facts["prompt"]}"',
        f"- 최대 스텝: {facts['steps']}", f"- 스레드 수: {facts['nthreads']}", "",
        "## 측정 결과 통합 요약", "", "### 2대 워커 구성", "- Root: 1 GB", "",
        "## 상세 측정 결과", "",
    ]  # fmt: skip
    for model in models:
        lines += [f"### {model} 모델 상세 결과", ""]
        for index, cell in enumerate(c for c in facts["cell"] if c["model"] == model):
            lines += [f"#### {index + 1}. {cell['nodes']}대 워커 구성", "", *_cell_lines(cell), ""]
    lines += ["## 결론", "- TTFT_S: 1.0", "", "## 부록: 테스트 명령어", ""]
    for model in models:
        lines += [f"### {model} 모델", ""]
        for cell in (c for c in facts["cell"] if c["model"] == model):
            names = " ".join(f"100.64.0.{n}:9999" for n in range(1, cell["listed_workers"] + 1))
            lines += [f"#### {cell['nodes']}대 워커", "```bash", "./dllama inference \\",
                      f"  --workers {names}", "```", ""]  # fmt: skip
    return "\n".join(lines)


def _cell_lines(cell: dict[str, Any]) -> list[str]:
    def block(title: str, key: str) -> list[str]:
        n, per_s, ms = cell[key]
        batches = [f"   nBatches: {cell['n_batches']}"] if key == "evaluation" else []
        return [title, *batches, f"    nTokens: {n}", f"   tokens/s: {per_s:.2f} ({ms:.2f} ms/tok)"]

    p50, p95, p99 = cell["percentiles_ms"]
    return [
        f"- Root: {cell.get('root', NO_DATA)}", f"- Worker: {cell.get('worker', NO_DATA)}", "```",
        *block("Evaluation", "evaluation"), "", *block("Prediction", "prediction"), "```",
        f"- InputTokens: {cell['n_input_tokens']}", f"- OutputTokens: {cell['n_output_tokens']}",
        f"- TokensPerSecond: {cell['tokens_per_s']:.2f}", f"- TPOT_MS: {cell['tpot_ms']:.2f}",
        f"- TTFT_S: {cell['ttft_s']:.3f}", f"- RCT_S: {cell['rct_s']:.3f}",
        f"- 총 작업 수: {cell['operations']:,}", f"- 총 전송량: {cell['total_mb']:,.2f} MB",
        f"- 평균 지연시간: {cell['avg_ms']:.2f} ms", f"- 최대 지연시간: {cell['max_ms']:.2f} ms",
        f"- 최소 지연시간: {cell['min_ms']:.2f} ms", f"- 대역폭: {cell['bandwidth_mbps']:.2f} Mbps",
        f"- 가장 느린 소켓: 0 (평균 지연시간: {cell['avg_ms']:.2f} ms)",
        f"- P50: {p50:.2f}ms, P95: {p95:.2f}ms, P99: {p99:.2f}ms",
        *(f"- {name}: {n} ops, {mb:.2f} MB, {avg:.2f} ms avg"
          for name, n, mb, avg in cell["operation_lines"]),
    ]  # fmt: skip


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
        (b" " * (LARGEST_BYTES + 1), "more than 16 MiB"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "x.md"
    path.write_bytes(content)
    with pytest.raises(ImportLogError, match=why):
        import_report(path)


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ImportLogError, match="no regular file"):
        import_report(tmp_path)
