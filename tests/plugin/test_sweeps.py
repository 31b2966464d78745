"""Sweeps on real clusters: every cell does its own work, and exactly that."""

from __future__ import annotations

import json

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.run import RunRecord
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun

pytestmark = pytest.mark.long

LIMITS = """
[defaults]
tpot_ms = 10000
[defaults.workloads.tg6]
tokens_per_s = 100000
[models.llama_q40.workloads.d40-pp4]
ttft_s = 1
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> RealRun:
    """Two node counts, each with eight workloads."""
    run = RealRun(tmp_path_factory.mktemp("swept"))
    (run.folder / "limits.toml").write_text(LIMITS)
    run.start(
        [
            *(str(ROOT / "suites"), "--models", SMALL_MODEL, "--nodes", "1,2", "--repeats", "1"),
            *("--warmup", "0", "--prompt-tokens", "4,40", "--output-tokens", "1,6"),
            *("--context-depth", "0,40", "--sweep", "nthreads=1,2", "-k", "not nthreads2 or d0"),
            *("--thresholds", "limits.toml", "-rs", "--benchmark-json", "rows.json"),
        ]
    )
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    return run


@pytest.fixture(scope="module")
def record(swept: RealRun) -> RunRecord:
    return read_run(swept.report / "run.json")


def test_each_cell_did_its_own_work(record: RunRecord) -> None:
    ends = ["-pp4-tg1-d0", "-pp4-tg1-d40", "-pp4-tg6-d0", "-pp4-tg6-d40"]
    ends += [end.replace("pp4", "pp40") for end in ends]
    asked = [end + "-nthreads1" for end in ends] + [e + "-nthreads2" for e in ends if "d0" in e]
    assert {cell.id for cell in record.cells} == {
        f"llama_q40-{nodes}{end}" for nodes in (1, 2) for end in asked
    }
    for cell in record.cells:
        load = cell.workload
        (sample,) = cell.samples
        assert sample.n_input_tokens == load.prompt_tokens
        assert sample.n_output_tokens == load.output_tokens
        assert (
            cell.max_seq_len
            == sum(
                size or 0 for size in (load.prompt_tokens, load.output_tokens, load.context_depth)
            )
            - 1
        )
        assert cell.commands is not None
        command = " ".join(cell.commands.root)
        assert f"--nthreads {dict(load.options)['nthreads']} " in command
        assert ("--context-depth 40 " in command) == (load.context_depth == 40)
        for worker in cell.commands.workers:
            assert worker[-1] == dict(load.options)["nthreads"]


def test_each_workload_has_its_own_oracle(record: RunRecord) -> None:
    outputs = {}
    for cell in record.cells:
        assert cell.output is not None
        assert cell.output.status == ("oracle" if cell.nodes == 1 else "identical")
        load = cell.workload.model_copy(update={"options": ()})
        outputs.setdefault(load, set()).add(cell.output.token_ids)
    assert all(len(tokens) == 1 for tokens in outputs.values())
    assert len({frozenset(tokens) for tokens in outputs.values()}) > 2  # prompts and depths matter


def test_request_of_the_record_leaves_the_work_to_the_cells(record: RunRecord) -> None:
    assert (record.request.prompt, record.request.steps) == ("", None)
    assert (record.request.kv_type, record.request.max_seq_len) == ("f32", None)


def test_one_output_token_has_no_tpot(swept: RealRun, record: RunRecord) -> None:
    assert (
        "llama_q40-2-pp4-tg1-d0-nthreads1: tpot_ms: a request of one output token has "
        "no time per further token"
    ) in swept.output
    for cell in record.cells:
        assert cell.verdict is not None
        has_limit = "tpot_ms" in {result.metric for result in cell.thresholds}
        assert has_limit == (cell.workload.output_tokens == 6)
        assert cell.verdict.status == ("PASS" if cell.workload.output_tokens == 1 else "FAIL")


def test_limits_of_a_workload(swept: RealRun, record: RunRecord) -> None:
    for cell in record.cells:
        sources = {result.source for result in cell.thresholds}
        assert ("limits.toml [defaults.workloads.tg6]" in sources) == cell.id.count("-tg6-")
    assert (
        "limits.toml [models.llama_q40.workloads.d40-pp4] limits no cell of this run; it has "
        "pp4-tg1-d0-nthreads1, pp4-tg1-d40-nthreads1, "
    ) in swept.output


def test_rows_of_benchmarks_say_what_they_did(swept: RealRun) -> None:
    rows = json.loads((swept.folder / "rows.json").read_text())["benchmarks"]
    name = "llama_q40-2-pp4-tg1-d40-nthreads1"
    (row,) = (row for row in rows if row["name"] == f"test_rct[{name}]")
    assert row["params"] == {
        "model": "llama_q40",
        "nodes": 2,
        "steps": "1 output tokens",
        "prompt": "4 tokens",
        "engine": "embedded",
        "cell": name,
        "swept": {"nthreads": "1", "context-depth": "40"},
    }
    assert row["group"] == "RCT of llama_q40-pp4-tg1-d40-nthreads1"


def test_workers_start_anew_only_where_their_options_change(swept: RealRun) -> None:
    names = {path.name for path in swept.report.glob("logs/*/worker1*.stdout.log")}
    assert "worker1.stdout.log" in names
    assert len(names) == 3  # for all cells first, then for each number of threads on 2 nodes
    assert swept.leftovers() == []


def test_the_table_tells_workloads_apart(swept: RealRun) -> None:
    table = swept.output.partition("distributed LLM inference")[2]
    for end in ("pp4-tg1-d0-nthreads1", "pp40-tg6-d40-nthreads1", "pp4-tg6-d0-nthreads2"):
        for nodes in (1, 2):
            assert table.count(f"\nllama_q40-{nodes}-{end} ") == 1


def test_steps_beyond_the_context_are_told_with_the_number_run(tmp_path) -> None:
    run = RealRun(tmp_path)
    run.start(
        [
            *(str(ROOT / "suites"), "--models", SMALL_MODEL, "--nodes", "1", "--repeats", "1"),
            *("--warmup", "0", "--steps", "300", "-k", "rct", "-p", "no:benchmark"),
        ]
    )
    assert run.finish() == 0, run.output
    note = "--steps 300: the model's context holds 256, so that 256 steps were run"
    assert f"note: {note}" in run.output
    record = read_run(run.report / "run.json")
    assert record.notes == (note,)
    (sample,) = record.cells[0].samples
    assert sample.prefill_tokens + sample.n_output_tokens == record.cells[0].max_seq_len == 256
