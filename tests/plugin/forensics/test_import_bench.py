"""Result files of other benchmarks: their times by our definitions, and what they do not tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.forensics.bench.base import BenchFileError
from pytest_dllama.forensics.bench.files import parse_bench_file
from pytest_dllama.forensics.import_bench import import_bench
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.history.run_files import read_run

VLLM: dict[str, Any] = {
    "date": "20251101-120000", "backend": "openai", "model_id": "org/llama-1b", "num_prompts": 2,
    "completed": 2, "total_input_tokens": 20, "total_output_tokens": 8, "duration": 3.0,
    "median_ttft_ms": 150.0, "median_tpot_ms": 50.0, "median_itl_ms": 50.0, "p99_ttft_ms": 200.0,
}  # fmt: skip
VLLM_DETAILED = VLLM | {
    "input_lens": [10, 10], "output_lens": [4, 4], "ttfts": [0.1, 0.2],
    "itls": [[0.05, 0.05, 0.05], [0.04, 0.05, 0.06]],
}  # fmt: skip
GUIDELLM = {
    "args": {"model": "org/llama-1b"},
    "benchmarks": [
        {
            "requests": {
                "successful": [
                    {
                        "request_latency": 1.1, "time_to_first_token_ms": 100.0,
                        "time_per_output_token_ms": 110.0, "prompt_tokens": 12, "output_tokens": 11,
                    }
                ],
                "errored": [{"request_latency": 9.0}],
            }
        }
    ],
}  # fmt: skip
AIPERF_RECORDS = [
    {
        "metadata": {"request_num": n},
        "metrics": {
            "time_to_first_token": {"value": 100.0 * n, "unit": "ms"},
            "inter_token_latency": {"value": 10.0, "unit": "ms"},
            "request_latency": {"value": 100.0 * n + 50.0, "unit": "ms"},
            "input_sequence_length": {"value": 7, "unit": "tokens"},
            "output_sequence_length": {"value": 6, "unit": "tokens"},
        },
    }
    for n in (1, 2)
]
AIPERF_SUMMARY = {
    "input_config": {"endpoint": {"model_names": ["qwen"]}},
    "request_count": {"unit": "requests", "avg": 2.0},
    "time_to_first_token": {"unit": "ms", "avg": 150.0, "p50": 140.0},
    "request_latency": {"unit": "ms", "avg": 200.0, "p50": 190.0},
    "output_sequence_length": {"unit": "tokens", "avg": 6.0, "p50": 6.0},
}
LLAMA_BENCH = [
    {
        "build_commit": "abc", "model_filename": "models/llama-160m-q4_0.gguf", "n_threads": 2,
        "n_prompt": n_prompt, "n_gen": n_gen, "n_depth": depth, "avg_ns": 2_000_000_000,
        "avg_ts": 64.0, "samples_ns": [1_000_000_000, 2_000_000_000, 4_000_000_000],
    }
    for n_prompt, n_gen, depth in ((128, 0, 0), (0, 32, 512), (128, 32, 0))
]  # fmt: skip


def written(folder: Path, document: Any, name: str = "r.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_vllm_requests_by_our_definitions(tmp_path: Path) -> None:
    (cell,) = import_bench([written(tmp_path, VLLM_DETAILED)], 4).cells
    assert (cell.model, cell.nodes) == ("org_llama-1b", 4)
    first, second = cell.samples
    assert first.rct_s == pytest.approx(0.25)
    assert first.tpot_ms == pytest.approx(50.0)
    assert first.tokens_per_s == pytest.approx(4 / 0.25)
    assert second.itl_ms == pytest.approx((40.0, 50.0, 60.0))
    assert cell.metrics["ttft_s"].value == pytest.approx(0.15)
    assert cell.metrics["ttft_s"].n == 2


def test_vllm_sums_give_one_sample_and_a_note(tmp_path: Path) -> None:
    run = import_bench([written(tmp_path, VLLM)], 1)
    (sample,) = run.cells[0].samples
    assert (sample.ttft_s, sample.tpot_ms) == (0.15, pytest.approx(50.0))
    assert sample.rct_s == pytest.approx(0.15 + 3 * 0.05)
    assert any("Only medians over 2 requests are in the file" in note for note in run.notes)


def test_guidellms_time_per_token_counts_the_first_one_and_ours_does_not(tmp_path: Path) -> None:
    run = import_bench([written(tmp_path, GUIDELLM)], 1)
    (sample,) = run.cells[0].samples  # not the one that failed
    assert sample.tpot_ms == pytest.approx(100.0)  # theirs: 110
    assert (sample.n_input_tokens, sample.n_output_tokens) == (12, 11)
    assert any("counts the first token" in note for note in run.notes)


def test_aiperf_records_and_summary(tmp_path: Path) -> None:
    lines = tmp_path / "profile_export.jsonl"
    lines.write_text("\n".join(map(json.dumps, AIPERF_RECORDS)) + "\n", encoding="utf-8")
    (cell,) = import_bench([lines], 2).cells
    assert [s.tpot_ms for s in cell.samples] == [pytest.approx(10.0)] * 2
    assert [s.ttft_s for s in cell.samples] == [pytest.approx(0.1), pytest.approx(0.2)]
    run = import_bench([written(tmp_path, AIPERF_SUMMARY)], 2)
    assert run.cells[0].model == "qwen"
    assert run.cells[0].samples[0].tpot_ms == pytest.approx(10.0)
    assert any("Only medians over 2 requests" in note for note in run.notes)


@pytest.mark.parametrize("form", ["list", "lines"])
def test_llama_bench_is_a_cell_a_workload(tmp_path: Path, form: str) -> None:
    path = tmp_path / "bench"
    text = json.dumps(LLAMA_BENCH) if form == "list" else "\n".join(map(json.dumps, LLAMA_BENCH))
    path.write_text(text, encoding="utf-8")
    prefill, decode, both = import_bench([path], 1).cells
    assert [cell.id for cell in (prefill, decode, both)] == [
        "llama-160m-q4_0-1-pp128", "llama-160m-q4_0-1-tg32-d512", "llama-160m-q4_0-1-pp128-tg32",
    ]  # fmt: skip
    assert prefill.metrics.keys() == {"prefill_tokens_per_s"}
    estimate = prefill.metrics["prefill_tokens_per_s"]
    assert (estimate.value, estimate.minimum, estimate.maximum) == (64.0, 32.0, 128.0)
    assert decode.metrics["decode_tokens_per_s"].value == 16.0
    assert both.metrics["rct_s"].value == 2.0
    assert "tpot_ms" not in decode.metrics


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no result file that is known"),
        ("{]", "no JSON, no JSON lines and no table of llama-bench"),
        ("[1, 2]", "no objects with keys"),
        ('{"a": 1}', "no result file that is known"),
        ("[]", "no result file that is known"),
        (json.dumps(VLLM | {"completed": 0}), "without a request that ended well"),
        (json.dumps(VLLM_DETAILED | {"output_lens": [0, 0]}), "without a request that ended well"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_other_files_are_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(BenchFileError, match=why):
        parse_bench_file(text)


@pytest.mark.parametrize("figure", [None, "1", True, -1, 0, float("inf"), [], {}])
def test_a_figure_that_is_none_is_missing_and_never_zero(tmp_path: Path, figure: Any) -> None:
    request = GUIDELLM["benchmarks"][0]["requests"]["successful"][0]  # type: ignore[index]
    broken = json.loads(json.dumps(GUIDELLM))
    broken["benchmarks"][0]["requests"]["successful"] = [
        request | {"time_to_first_token_ms": figure},
        request | {"request_latency": figure},
    ]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(broken), encoding="utf-8")
    (sample,) = import_bench([path], 1).cells[0].samples
    assert (sample.ttft_s, sample.tpot_ms, sample.rct_s) == (None, None, 1.1)


def test_the_same_cell_twice_is_refused(tmp_path: Path) -> None:
    a, b = written(tmp_path, VLLM_DETAILED, "a"), written(tmp_path, VLLM_DETAILED, "b")
    with pytest.raises(ImportLogError, match="org_llama-1b-1 is in these files twice"):
        import_bench([a, b], 1)


def test_the_command(tmp_path: Path, capsys) -> None:
    output = tmp_path / "run.json"
    line = ["import-bench", str(written(tmp_path, LLAMA_BENCH)), "-o", str(output)]
    assert main([*line, "--nodes", "2"]) == 0
    assert "llama-160m-q4_0-2-pp128: 3 requests" in capsys.readouterr().out
    assert len(read_run(output).cells) == 3
    assert main(line) == 2
    assert "is there already" in capsys.readouterr().err
