"""Result files of other benchmarks as their versions write them: forms, gaps and several runs."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_dllama.forensics.bench.base import BenchFileError
from pytest_dllama.forensics.bench.files import parse_bench_file
from pytest_dllama.forensics.import_bench import import_bench
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.pages.markdown import render

FIELDS = (
    "build_commit,build_number,cpu_info,model_filename,model_type,n_threads,flash_attn,"
    "n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts"
)
ROWS = (
    ("8cf427ff", "5163", "Cortex-A76, 4 cores", "m/qwen.gguf", "qwen2 7B", "4", "0", "512", "0",
     "0", "2025-04-24T11:57:09Z", "64000000000", "1", "8.0", "0.1"),
    ("8cf427ff", "5163", "Cortex-A76, 4 cores", "m/qwen.gguf", "qwen2 7B", "4", "0", "0", "128",
     "256", "2025-04-24T11:57:10Z", "64000000000", "1", "2.0", "0.1"),
)  # fmt: skip
CSV = "\n".join([FIELDS, *(",".join(f'"{value}"' for value in row) for row in ROWS)])
_INSERT = f"INSERT INTO llama_bench ({FIELDS.replace(',', ', ')}) VALUES "
SQL = "CREATE TABLE IF NOT EXISTS llama_bench (\n  avg_ts REAL\n);\n" + "\n".join(
    f"{_INSERT}({', '.join(map(repr, row))});" for row in ROWS
)
MARKDOWN = """\
ggml_cuda_init: found no devices
| model       |     size |  params | backend | threads |         test |             t/s |
| ----------- | -------: | ------: | ------- | ------: | -----------: | --------------: |
| qwen2 7B Q4 | 4.36 GiB |  7.62 B | CPU     |       4 |        pp512 |     8.00 ± 0.10 |
| qwen2 7B Q4 | 4.36 GiB |  7.62 B | CPU     |       4 | tg128 @ d256 |     2.00 ± 0.10 |

build: 8cf427ff (5163)
"""
OLD_MARKDOWN = """\
| model                | backend |    threads | test       |              t/s |
| -------------------- | ------- | ---------: | ---------- | ---------------: |
| llama 7B mostly Q4_0 | CPU     |          1 | pp 64      |      6.17 ± 0.07 |
| llama 7B mostly Q4_0 | CPU     |          1 | tg 16      |      4.05 ± 0.02 |
| llama 7B mostly Q4_0 | CPU     |          2 | pp 64      |     12.31 ± 0.13 |
| llama 7B mostly Q4_0 | CPU     |          2 | tg 16      |      7.80 ± 0.07 |
"""


def imported(folder: Path, *texts: str | dict[str, Any] | list[Any]) -> RunRecord:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.txt")
        told = text if isinstance(text, str) else json.dumps(text)
        paths[-1].write_text(told, encoding="utf-8")
    return import_bench(paths, 1)


def ids(run: RunRecord) -> list[str]:
    return [cell.id for cell in run.cells]


def value(run: RunRecord, cell: int, metric: str) -> float:
    return run.cells[cell].metrics[metric].value


# -- llama-bench ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"), [(CSV, "qwen"), (SQL, "qwen"), (MARKDOWN, "qwen2 7B Q4")]
)
def test_every_output_of_llama_bench_is_read(tmp_path: Path, text: str, name: str) -> None:
    run = imported(tmp_path, text)
    assert ids(run) == [f"{name}-1-pp512", f"{name}-1-tg128-d256"]
    assert value(run, 0, "prefill_tokens_per_s") == pytest.approx(8.0)
    assert value(run, 1, "decode_tokens_per_s") == pytest.approx(2.0)
    assert any("has means only: spread is not known (-o json has it)" in n for n in run.notes)


def test_tests_of_other_settings_are_other_cells(tmp_path: Path) -> None:
    run = imported(tmp_path, OLD_MARKDOWN)
    name = "llama 7B mostly Q4_0-1"
    assert ids(run) == [
        f"{name}-pp64-threads1", f"{name}-tg16-threads1",
        f"{name}-pp64-threads2", f"{name}-tg16-threads2",
    ]  # fmt: skip
    assert value(run, 3, "decode_tokens_per_s") == pytest.approx(7.8)
    assert "tg16-threads2" in render(run, "en")


def test_one_test_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportLogError, match="qwen-1-pp512 is in these files twice"):
        imported(tmp_path, CSV, CSV)


def test_two_builds_are_compared(tmp_path: Path) -> None:
    run = imported(tmp_path, CSV, CSV.replace("8cf427ff", "00aa11bb"))
    assert ids(run)[::2] == ["qwen-1-pp512-build8cf427ff", "qwen-1-pp512-build00aa11bb"]


def test_a_file_that_was_cut_off_keeps_its_whole_tests(tmp_path: Path) -> None:
    whole = json.dumps(
        [dict(n_prompt=8, n_gen=0, avg_ns=n, model_filename=f"m{n}") for n in (1, 2)]
    )
    run = imported(tmp_path, "warning: slow\n" + whole[:-20].replace("}, {", "},\n{"))
    assert ids(run) == ["m1-1-pp8"]
    assert "The file is not whole: what could be read of it is here." in run.notes


def test_a_line_without_end_is_no_table() -> None:
    text = json.dumps({"n_prompt": 8, "n_gen": 0, "avg_ns": 5, "cpu_info": "x," * 200_000})
    assert len(parse_bench_file(text).cells) == 1


# -- vLLM and SGLang ------------------------------------------------------------------------------

RESULT: dict[str, Any] = {"model_id": "m", "completed": 2, "total_output_tokens": 20}


def test_results_of_several_rates_are_cells(tmp_path: Path) -> None:
    rates = [
        RESULT | {"request_rate": rate, "max_concurrency": None, "median_ttft_ms": 100.0}
        for rate in (1.0, "inf")
    ]
    appended = "\n".join(map(json.dumps, rates))  # --append-result
    assert ids(imported(tmp_path, appended)) == ["m-1-rate1.0", "m-1-rateinf"]
    assert ids(imported(tmp_path, *rates)) == ["m-1-rate1.0", "m-1-rateinf"]


@pytest.mark.parametrize(
    ("figures", "known"),
    [
        ({"mean_tpot_ms": 50.0, "mean_ttft_ms": 100.0}, {"ttft_s": 0.1, "tpot_ms": 50.0,
          "rct_s": 0.55}),
        ({"median_tpot_ms": 50.0}, {"tpot_ms": 50.0}),
        ({"median_e2el_ms": 900.0}, {"rct_s": 0.9}),
        ({"median_ttft_ms": 100.0, "median_e2e_latency_ms": 1000.0},
         {"ttft_s": 0.1, "tpot_ms": 100.0, "rct_s": 1.0}),
    ],
)  # fmt: skip
def test_what_a_summary_lacks_is_missing_and_never_zero(
    tmp_path: Path, figures: dict[str, float], known: dict[str, float]
) -> None:
    (cell,) = imported(tmp_path, RESULT | figures).cells
    found = {name: estimate.value for name, estimate in cell.metrics.items()}
    found.pop("tokens_per_s", None)
    assert found == pytest.approx(known)


def test_requests_that_failed_are_left_out_and_told(tmp_path: Path) -> None:
    run = imported(
        tmp_path,
        RESULT
        | {
            "median_ttft_ms": 1.0, "ttfts": [0.1, 0.0, None, 0.2],
            "errors": ["", "refused", "", ""],
            "itls": [[0.1], [], None, [0.1, "x"]], "input_lens": [4, 4, 4, 4],
            "output_lens": [2, 0, 3, 2],
        },
    )  # fmt: skip
    assert [sample.ttft_s for sample in run.cells[0].samples] == [0.1, 0.2]
    assert "m: 2 of 4 requests failed and are left out." in run.notes
    assert "m: 요청 4개 중 실패한 2개는 제외함." in render(run, "ko")


# -- GuideLLM -------------------------------------------------------------------------------------


def _benchmark(rate: float, **fields: Any) -> dict[str, Any]:
    strategy = {"type_": "constant", "rate": rate}
    return {"config": {"strategy": strategy, "backend": {"model": "g"}}, **fields}


def _good(**figures: Any) -> dict[str, Any]:
    return {"successful": figures}


def test_a_sweep_of_guidellm_is_a_cell_a_rate_and_medians_do(tmp_path: Path) -> None:
    metrics = {
        "request_latency": _good(median=1.5, count=40),
        "time_to_first_token_ms": _good(percentiles={"p50": 500.0}),
        "inter_token_latency_ms": _good(median=100.0),
        "output_token_count": _good(median=11.0),
        "prompt_token_count": _good(median=7.0),
    }
    requests = [{"request_latency": 2.0, "time_to_first_token_ms": 1000.0, "output_tokens": 11}]
    run = imported(
        tmp_path,
        {
            "metadata": {"guidellm_version": "0.5.3"},
            "benchmarks": [
                _benchmark(1.0, metrics=metrics),  # --sample-requests 0, or a version without
                _benchmark(5.0, requests={"successful": requests}, metrics=metrics),
            ],
        },
    )
    assert ids(run) == ["g-1-rate1", "g-1-rate5"]
    assert value(run, 0, "tpot_ms") == pytest.approx(100.0)
    assert value(run, 0, "ttft_s") == pytest.approx(0.5)
    assert value(run, 1, "rct_s") == pytest.approx(2.0)
    assert any("g: Only medians over 40 requests are in the file" in note for note in run.notes)


# -- AIPerf ---------------------------------------------------------------------------------------


def _record(ms: float, phase: str = "profiling", **fields: Any) -> dict[str, Any]:
    metrics = {
        "request_latency": {"value": ms, "unit": "ms"},
        "time_to_first_token": {"value": 100.0, "unit": "ms"},
        "output_sequence_length": {"value": 3, "unit": "tokens"},
        "inter_chunk_latency": {"value": [10.0, 20.0], "unit": "ms"},
    }
    return {"metadata": {"benchmark_phase": phase}, "metrics": metrics, "error": None, **fields}


def test_aiperfs_warm_up_and_failures_are_left_out(tmp_path: Path) -> None:
    failed = {"metadata": {"benchmark_phase": "profiling"}, "metrics": {}, "error": {"code": 500}}
    lines = [_record(900.0, "warmup"), _record(130.0), failed, _record(150.0)]
    run = imported(tmp_path, "\n".join(map(json.dumps, lines)))
    (cell,) = run.cells
    assert [sample.rct_s for sample in cell.samples] == pytest.approx([0.13, 0.15])
    assert cell.samples[0].itl_ms == pytest.approx((10.0, 20.0))
    assert "model: 1 of 3 requests failed and are left out." in run.notes
    assert "model: 1 requests of the warm-up are left out." in run.notes


def test_an_aiperf_summary_without_a_stream_has_no_first_token(tmp_path: Path) -> None:
    told = {
        "request_latency": {"unit": "ms", "avg": 800.0},
        "output_sequence_length": {"unit": "tokens", "avg": 8.0},
        "input_config": {"models": ["a/b"], "loadgen": {"concurrency": 4}},
    }
    run = imported(tmp_path, {"records": told, "input_config": told["input_config"]})
    assert run.cells[0].model == "a_b"
    assert run.cells[0].metrics.keys() == {"rct_s", "tokens_per_s"}
    assert any("Only means over all requests" in note for note in run.notes)


# -- damage ---------------------------------------------------------------------------------------

ODD = (None, True, -1, float("nan"), 10**400, "x", [], {}, [None], {"a": 1})


def _places(told: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = told.items() if isinstance(told, dict) else enumerate(told)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


@pytest.mark.parametrize(
    "whole",
    [
        RESULT | {"median_ttft_ms": 1.0, "ttfts": [0.1], "itls": [[0.1]], "input_lens": [4],
                  "output_lens": [2]},
        {"benchmarks": [_benchmark(1.0, requests={"successful": [{"request_latency": 1.0}]})]},
        _record(130.0),
        {"request_latency": {"unit": "ms", "p50": 1.0}, "input_config": {"models": ["a"]}},
        {"n_prompt": 8, "n_gen": 0, "avg_ns": 5, "samples_ns": [5], "model_filename": "m"},
    ],
)  # fmt: skip
def test_whatever_stands_for_a_figure_it_is_read_or_refused(whole: dict[str, Any]) -> None:
    for path in _places(whole):
        for odd in ODD:
            damaged = copy.deepcopy(whole)
            holder = damaged
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = odd
            with contextlib.suppress(BenchFileError):
                parse_bench_file(json.dumps(damaged))
