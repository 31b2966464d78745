"""The parser on every sample of the real dllama, on texts made to mislead it, and on damage."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dllama.backends.dllama.printed import lines, run
from pytest_dllama.backends.dllama.printed.log import LogParser, parse_lines, parse_log
from pytest_dllama.backends.dllama.printed.run import LoggedRun, PhaseBlock, StepLine
from pytest_dllama.backends.dllama.printed.times import WRAP_MS, totals
from tests.plugin.backends.sample_logs import NAMES, damaged_logs, generated, only, read

PROMPTS = ("hello world", "One morning, Mina", "One é 한국 😀")


def test_there_are_samples() -> None:
    assert len(NAMES) == 20


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_the_samples_is_understood(name: str) -> None:
    unknown = [
        line
        for line in read(name).split("\n")
        if line not in ("", *PROMPTS) and lines.read_line(line) is None
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("name", "variant", "nodes"),
    [
        ("fork_inference_n2.log", "fork", 2),
        ("fork_inference_n4.log", "fork", 4),
        ("fork_inference_n4.worker2.log", "fork", 4),
        ("upstream_inference_n1.log", "upstream", 1),
        ("upstream_inference_n2.log", "upstream", 2),
        ("upstream_perplexity_n2.log", "upstream", 2),
        ("upstream_worker_unreachable.log", "upstream", 2),
    ],
)
def test_variant_and_node_count_by_the_output_alone(name: str, variant: str, nodes: int) -> None:
    run = only(name)
    assert (run.variant, run.nodes, run.unread) == (variant, nodes, [])


def test_fork_sample() -> None:
    run = only("fork_inference_n2.log")
    assert (run.prompt, run.n_batches, run.required_mb, run.cpu) == ("hello world", 32, 170, "avx2")
    assert (len(run.prefill), len(run.decode)) == (1, 43)
    assert run.decode[-1].piece == "efdc"
    assert run.timing_ms == {
        "prefillMs": 177.15,
        "ttftMs": 216.45,
        "decodeMs": 1555.77,
        "totalMs": 1732.92,
    }
    assert run.monitor is not None
    assert (run.monitor.operations, run.monitor.total_mb) == (2448, 22.52)
    assert run.monitor.percentiles_ms == (1.11, 2.23, 2.25)
    kinds = [(item.op, item.operations) for item in run.monitor.operations_by_kind]
    assert kinds == [("SYNC_NODE_SLICES", 245), ("SYNC_WITH_ROOT", 10), ("readMany", 245)]
    assert (run.pp_size, run.tp_size, run.collective) == (1, 2, "star")


def test_upstream_sample() -> None:
    run = only("upstream_inference_n2.log")
    times = totals(run)
    assert times is not None
    assert (times.prefill_ms, times.is_own_clock, times.wraps) == (
        pytest.approx(5e3 / 245.88),
        False,
        0,
    )
    assert times.rct_ms == pytest.approx(5e3 / 245.88 + 43e3 / 90.34)
    assert times.ttft_ms == pytest.approx(5e3 / 245.88 + 9)
    assert run.monitor is None


def test_failed_fork_run_and_its_workers() -> None:
    root, worker = only("fork_inference_n4.log"), only("fork_inference_n4.worker3.log")
    assert root.errors[0] == "Execution error: readMany timeout after 60000ms"
    assert root.stalls[-1].kind == "NET_TIMEOUT"
    assert (root.stalls[-1].pending_bytes, root.stalls[-1].sockets) == (8448, 3)
    assert root.peer_addresses[2] == "127.0.0.1:22043"
    assert (worker.is_worker, worker.rank, worker.listening) == (True, 3, ("0.0.0.0", 22043))
    assert totals(root) is None


@pytest.mark.parametrize(
    ("head", "place"),
    [
        ("💡 sliceIndex: 3\n💡 nSlices: 4", (3, 4)),  # v0.5 to v0.10
        ("⭕ nNodes: 2\n⭕ nodeIndex: 2\n💡 sliceIndex: 3\n💡 nSlices: 4", (3, 4)),  # v0.11
        ("⭕ nNodes: 0\n⭕ NodeIndex: 0\n⭕ Network is initialized", (1, 2)),  # from v0.12 on
        ("⭕ nNodes: 2\n⭕ NodeIndex: 1\n⭕ Network is initialized", (2, 4)),
        ("⭕ nNodes: 4\n⭕ NodeIndex: 1\n⭕ Worker[1]: expecting 2 peer workers", (1, 4)),  # fork
        ("", (None, None)),
    ],
)
def test_a_workers_rank_as_each_version_counts(
    head: str, place: tuple[int | None, int | None]
) -> None:
    sessions = parse_log(f"Listening on 0.0.0.0:9998...\n{head}\nListening on 0.0.0.0:9998...\n")
    assert [run.is_worker for run in sessions] == [True, True]
    assert (sessions[0].rank, sessions[0].nodes) == place


def test_unreachable_worker_and_perplexity() -> None:
    assert only("upstream_worker_unreachable.log").unreachable == (
        "127.0.0.1:22999",
        "Connection refused",
    )
    run = only("upstream_perplexity_n2.log")
    assert run.perplexity["perplexity"] == 58326.015625
    assert (run.perplexity_tokens, run.steps) == (13, [])


@pytest.mark.parametrize(
    "pieces",
    [
        ("\n", "\n\n", "a"),
        ("a", "\n"),
        (" one\n🔍 two", "🎉", "⭕", "📈 Operation"),
        ("\nEvaluation", "\nPrediction\n", "x"),
        ("\nTiming", "\n  tokens/s: 3"),
        ("| 5 ms |", "🔶", "~", ""),
        ("\n    nTokens: 7", "\n   nBatches: 1"),
        ("\n  SYNC: 3 ops", "\nSocket 0: P50=1ms"),
    ],
)
def test_pieces_that_look_like_something_else(pieces: tuple[str, ...]) -> None:
    (run,) = parse_log(generated(*pieces))
    assert [step.piece for step in run.decode] == list(pieces)
    assert run.evaluation == PhaseBlock(5, 4.07, True, 245.88)
    assert run.prediction is not None
    assert run.prediction.n_tokens == len(pieces)
    assert run.monitor is None


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\x1b", exclude_categories=["Cs"]), max_size=6),
        min_size=1,
        max_size=6,
    )
)
def test_any_pieces_come_back(pieces: list[str]) -> None:
    (run,) = parse_log(generated(*pieces))
    assert [step.piece for step in run.decode] == pieces


def test_live_lines_and_chunks_give_the_same_as_the_file() -> None:
    text = read("fork_inference_n2.log")
    whole = parse_log(text)
    assert parse_lines(text.splitlines(keepends=True)) == whole
    parser = LogParser()
    parser.feed(text.removesuffix("\n"))
    assert parser.finish() == whole


def test_windows_ends_and_terminal_colours() -> None:
    text = read("fork_inference_n2.log")
    whole = parse_log(text)
    assert parse_log(text.replace("\n", "\r\n")) == whole
    coloured = "\n".join(f"\x1b[1;32m{line}\x1b[0m" for line in text.split("\n"))
    assert parse_log("\ufeff" + coloured) == whole


def test_several_runs_in_one_file() -> None:
    order = [
        "upstream_inference_n1.log",
        "fork_inference_n4.log",
        "upstream_inference_n2.log",
        "upstream_perplexity_n2.log",
        "upstream_inference_n2.log",
        "fork_inference_n4.worker1.log",
        "upstream_worker_unreachable.log",
        "fork_inference_n2.log",
    ]
    assert parse_log("".join(map(read, order))) == [only(name) for name in order]


def test_a_log_of_something_else_holds_no_run() -> None:
    assert parse_log("hello\nworld\n\n1 2 3\n") == []
    assert parse_log("") == []


def test_phase_without_tokens_is_none() -> None:
    text = generated("a").replace("nTokens: 5", "nTokens: 0")
    text = text.replace("245.88 (4.07 ms/tok)", "-nan (nan ms/tok)")
    (run,) = parse_log(text)
    assert run.evaluation is not None
    assert (run.evaluation.n_tokens, run.evaluation.total_ms) == (0, None)
    times = totals(run)
    assert times is not None
    assert times.prefill_ms is None


def test_a_lost_count_of_the_prompt_stands_in_its_lines() -> None:
    (whole,) = parse_log(generated("a"))
    (run,) = parse_log(generated("a").replace("nTokens: 5\n", "", 1))
    assert totals(run) == totals(whole)
    assert run.evaluation is not None
    assert run.evaluation.n_tokens is None  # to ask for the times changes nothing


def test_sums_of_32_bits_are_unwrapped() -> None:
    """Two hours at 60 s a token: the printed total is one overflow too small."""
    steps = [StepLine("pred", 50_000, 10_000, 0, 0, 1) for _ in range(120)]
    true_ms = 120 * 60_000.7
    run = LoggedRun(steps=steps, prediction=PhaseBlock(120, (true_ms - WRAP_MS) / 120, True))
    times = totals(run)
    assert times is not None
    assert (times.wraps, times.rct_ms) == (1, pytest.approx(true_ms))


def test_doctests() -> None:
    for module in (lines, run):
        assert doctest.testmod(module).failed == 0


@settings(max_examples=150, deadline=None)
@given(damaged_logs)
def test_damage_is_no_crash(text: str) -> None:
    for found in parse_log(text):
        assert not found.is_empty
        totals(found)
