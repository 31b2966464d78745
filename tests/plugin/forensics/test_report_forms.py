"""Hand-written reports of other forms: English, other counts, tables alone, other columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.forensics.import_report import import_report
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.pages.markdown import render

ENGLISH = """\
# Scaling of three models

**Test environment:**
- **Models**: `dllama_model_a_q40.m`, `dllama_model_b_q40.m`
- Tokenizers: `t.t`
- Buffer type: `q80`
- Prompt: "Hello world"
- Max steps: 64
- Threads: 4

## Detailed results

### a model: detailed results

#### 1. 1 worker configuration

- Root memory: 4.0 GB
- Output tokens: 11
- Tokens/s: 1.00
- TPOT: 900.00 ms
- TTFT: 2000 ms
- RCT: 11.0 s

##### Network

- Total operations: 100
- Total transferred: 12.50 MB
- Average latency: 1.50 ms
- Slowest socket: 0
- P50: 0.10ms, P95: 2.00ms, P99: 3.00ms

#### 2. 4-node configuration

- OutputTokens: 11
- TPOT_MS: 400.00
- TTFT_S: 1.000
- RCT_S: 5.000

### b detailed results

#### 2 workers

- Output tokens: 11
- RCT: 5.0 s

## Conclusions

- TTFT: 9 s

## Appendix: commands

### a model

#### 4 nodes
```
./dllama inference --workers 10.0.0.1:9999 10.0.0.2:9999
```
"""
TABLES = """\
# 보고서

- 모델: `dllama_model_qwen3_0.6b_q40.m`

## 결과

### qwen 모델

| TTFT (ms) | RCT (s) | TPOT (ms) | Worker 메모리 | Root 메모리 | 노드 수 |
|----------:|--------:|----------:|---------------|-------------|---------|
| 1,000     | 10.000  | 900.00    | 500 MB        | 1.5 GB      | **1대** |
| 500       | 5.500   | 500.00    | -             | -           | 2대 ★   |

### 토큰 생성 속도 비교

| 노드 수 | qwen | 다른 것 |
|---------|------|---------|
| 1대     | 1.10 | 2.20    |

### llama 모델

| 구성 | Tokens/s | RCT (s) |
|------|----------|---------|
| 4대  | 2.00     | 8.000   |
"""


def imported(folder: Path, text: str) -> RunRecord:
    path = folder / "report.md"
    path.write_text(text, encoding="utf-8")
    return import_report(path)


def test_an_english_report(tmp_path: Path) -> None:
    run = imported(tmp_path, ENGLISH)
    assert [cell.id for cell in run.cells] == ["a-1", "a-4", "b-2"]
    first, second, _ = run.cells
    (sample,) = first.samples
    assert (sample.ttft_s, sample.tpot_ms, sample.rct_s) == (2.0, 900.0, 11.0)
    assert first.metrics["root_peak_rss_bytes"].value == 4e9
    assert first.network is not None
    assert (first.network.operations, first.network.avg_ms) == (100, 1.5)
    assert first.network.p95_ms == 2.0
    assert second.metrics["tpot_ms"].value == 400.0
    request = run.request
    assert (request.prompt, request.steps, request.nthreads) == ("Hello world", 64, 4)
    assert request.node_counts == (1, 2, 4)
    text = "\n".join(run.notes)
    assert "a-4: Its command line names 2 workers, 4 nodes with the root have 3" in text


def test_summary_tables_alone_are_a_report(tmp_path: Path) -> None:
    run = imported(tmp_path, TABLES)
    assert [cell.id for cell in run.cells] == ["qwen-1", "qwen-2", "llama-4"]
    one, two, llama = run.cells
    assert one.metrics["ttft_s"].value == 1.0
    assert one.metrics["root_peak_rss_bytes"].value == 1.5e9
    assert one.metrics["worker_peak_rss_bytes"].value == 5e8
    assert "root_peak_rss_bytes" not in two.metrics  # a dash is no value
    assert [cell.samples[0].n_output_tokens for cell in run.cells] == [11, 11, 16]
    assert llama.metrics.keys() == {"tokens_per_s", "rct_s"}
    assert "qwen-1: Its 11 output tokens are computed from its times." in run.notes
    korean = render(run, "ko")
    assert "qwen-1: 출력 토큰 수 11개는 적힌 시간에서 계산한 값임." in korean


def test_a_section_wins_over_the_table_and_a_contradiction_is_told(tmp_path: Path) -> None:
    table = "| Workers | TPOT (ms) | RCT (s) |\n|---|---|---|\n| 4 | 450.00 | 5.000 |\n"
    run = imported(tmp_path, ENGLISH.replace("## Detailed", f"### a model\n\n{table}\n## Detailed"))
    cell = next(cell for cell in run.cells if cell.id == "a-4")
    assert cell.metrics["tpot_ms"].value == 400.0
    assert "a-4: tpot_ms is 400 in its section and 450 in the summary table." in run.notes


def test_a_table_with_a_column_of_models(tmp_path: Path) -> None:
    run = imported(
        tmp_path,
        "| Model | Nodes | TPOT (s) | TTFT (s) | RCT (s) |\n|---|---|---|---|---|\n"
        "| a | 2 | 0.5 | 1.0 | 6.0 |\n| b | 2 | 1.0 | 1.0 | 11.0 |\n",
    )
    assert [(cell.id, cell.metrics["tpot_ms"].value) for cell in run.cells] == [
        ("a-2", 500.0),
        ("b-2", 1000.0),
    ]


def test_a_report_of_one_model_needs_no_heading_of_it(tmp_path: Path) -> None:
    text = TABLES.replace("### qwen 모델", "### 요약").partition("### 토큰")[0]
    assert [cell.id for cell in imported(tmp_path, text).cells] == ["qwen3_0.6b-1", "qwen3_0.6b-2"]


def test_a_cell_of_a_table_without_times_is_an_error_in_words(tmp_path: Path) -> None:
    run = imported(tmp_path, "### a 모델\n\n| 노드 수 | TTFT (s) |\n|--|--|\n| 2대 | 3.0 |\n")
    assert run.cells[0].error == "the report lacks n_output_tokens, rct_s of this cell"


def test_a_time_of_zero_is_missing(tmp_path: Path) -> None:
    run = imported(tmp_path, ENGLISH.replace("TPOT: 900.00 ms", "TPOT: 0.00 ms"))
    assert "tpot_ms" not in run.cells[0].metrics


def test_a_comparison_of_models_is_no_summary(tmp_path: Path) -> None:
    text = "### 속도 비교\n\n| 노드 수 | a | b |\n|--|--|--|\n| 2대 | 1.0 | 2.0 |\n"
    with pytest.raises(ImportLogError, match="and no table with node counts and speeds"):
        imported(tmp_path, text)


@pytest.mark.parametrize("figure", ["0", "0.00", "1..2", ".5", "-3", "9" * 400, "1,2,3", "-"])
def test_a_figure_that_is_none_breaks_no_report(tmp_path: Path, figure: str) -> None:
    for told in ("900.00 ms", "2000 ms", "11.0 s", "1.50 ms", "4.0 GB"):
        number, _, unit = told.partition(" ")
        text = ENGLISH.replace(told, f"{figure} {unit}").replace(f": {number} {unit}", figure)
        assert [cell.id for cell in imported(tmp_path, text).cells] == ["a-1", "a-4", "b-2"]
    imported(tmp_path, TABLES.replace("900.00", figure).replace("10.000", figure))
