"""Where time goes: every span lies in its step, waiting has a name, and nothing else changes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dllama_engine.cluster.summary import RankSummary
from dllama_engine.errors import WireError
from dllama_engine.kernels.run.timing import _ends_span
from dllama_engine.tables.links import RECEIVED_MESSAGES
from dllama_engine.tables.operations import EXCHANGE, FUNCTION, KIND, WIDTH
from dllama_engine.tables.spans import (
    COMPUTE,
    COPY,
    DECODE,
    FEED_FORWARD,
    NAMES,
    PREFILL,
    QKV,
    SAMPLING,
    WAITED,
    WIRE,
)
from dllama_engine.tables.team import CONTROL_WORDS, LAST, TABLE_ROWS
from dllama_engine.telemetry.spans import Spans
from dllama_engine.wire.frames import SYNC_NODE_SLICES
from tests.engine.processes import (
    Node,
    in_a_quiet_moment,
    inference_arguments,
    read_events,
    run,
    start_worker,
    wait_until,
)
from tests.engine.wire.meshes import in_threads, mesh

COMPUTED = {NAMES[kind] for kind in COMPUTE} - {"exchange-copy"}
# The root's beside compute: of greedy tokens in a row only the first becomes text within its step.
OF_ROOT = {
    "prefill": {"embedding", "sampling", "detokenizing"},
    "decode": {"embedding", "sampling"},
}
STEPS = 24


def test_a_phase_is_what_comes_before_or_after_the_first_token() -> None:
    rows: list[int] = []
    spans = Spans(2, rows.append)
    goes_on = []
    for n_logits, ns in ((0, 1), (0, 2), (1, 4), (1, 8), (1, 16), (0, 32), (1, 64), (1, 128)):
        goes_on.append(spans.begin_step(n_logits))
        spans.add(SAMPLING, 5, 5 + 1000 * ns)
        spans.add_receipt(1, 2000 * ns, 0, waited=True)
    assert goes_on == [False, True, True, True, True, False, True, True]
    prefill, decode = spans.told()
    assert (prefill.phase, prefill.steps, prefill.us) == (
        "prefill",
        5,
        {"sampling": 1 + 2 + 4 + 96},
    )
    assert (decode.phase, decode.steps, decode.us) == ("decode", 3, {"sampling": 8 + 16 + 128})
    assert decode.waited_us == ((1, 2 * 152),)
    assert len(rows) == 4  # at the begin, and whenever the phase changed
    assert rows[0] == rows[2] < rows[1] == rows[3]


def test_a_prompt_of_one_token_begins_with_the_first_token() -> None:
    spans = Spans(1)
    assert [spans.begin_step(1), spans.begin_step(1)] == [False, True]
    assert [(phase.phase, phase.steps) for phase in spans.told()] == [("prefill", 1), ("decode", 1)]


def test_what_is_forgotten_was_no_request() -> None:
    """A token that was generated only to warm up does not make the next one a later token."""
    spans = Spans(1)
    for n_logits in (0, 1):
        spans.begin_step(n_logits)
    spans.forget()
    assert spans.told() == ()
    assert [spans.begin_step(1), spans.begin_step(1)] == [False, True]
    assert [(phase.phase, phase.steps) for phase in spans.told()] == [("prefill", 1), ("decode", 1)]


def test_waiting_is_for_whoever_comes_last() -> None:
    ranks = mesh(3)
    tables = [Spans(3, links.record_spans)._table for links in ranks]

    def exchange(rank: int) -> None:
        links = ranks[rank]
        if rank == 2:  # once the others have each other's message, and a little later
            for other in (0, 1):
                wait_until(lambda o=other: ranks[o].table[1 - o, RECEIVED_MESSAGES], "a message")
            time.sleep(0.05)
        peers = links.peers
        got = {peer: bytearray(3) for peer in peers}
        links.exchange(SYNC_NODE_SLICES, dict.fromkeys(peers, b"abc"), got)

    in_threads([lambda rank=rank: exchange(rank) for rank in range(3)])
    for rank in (0, 1):
        row = tables[rank][PREFILL]
        assert row[WAITED + 2] > 0
        assert row[WAITED + 1 - rank] == row[WAITED + rank] == 0
        assert row[WIRE] > 0
        assert row.sum() == ranks[rank].spent_ns  # nothing is counted twice, nothing is lost
        assert not tables[rank][DECODE].any()
    for links in ranks:
        links.close()


def test_the_clock_is_read_only_where_the_kind_of_work_changes() -> None:
    """Three operations of one kind, one of another, then an exchange, and after it another."""
    kinds = [QKV, QKV, QKV, COPY, WIRE, COPY, FEED_FORWARD]
    table = np.zeros((len(kinds), WIDTH), np.int64)
    table[:, KIND], table[:, FUNCTION] = kinds, 4096
    table[4, FUNCTION] = EXCHANGE
    control = np.zeros(CONTROL_WORDS, np.int64)
    control[TABLE_ROWS] = len(kinds)
    reads = []
    for first, last in ((0, 4), (5, 7)):  # what is between exchanges
        control[LAST] = last
        reads += [i for i in range(first, last) if _ends_span.py_func(control, table, i, i + 1)]
    assert reads == [2, 5, 6]  # an exchange reads it at its own begin
    table[3, KIND] = FEED_FORWARD  # and counts no other work than copying
    control[LAST] = 4
    assert _ends_span.py_func(control, table, 3, 4)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    folder = tmp_path_factory.mktemp("workers")
    nodes = [start_worker(folder, f"w{i}") for i in range(2)]
    yield nodes
    for node in nodes:
        node.stop(signal.SIGKILL)


def request(path: Path, workers: list[Node], **flags: object) -> list[dict[str, Any]]:
    """Every event of a greedy request."""
    done = run(*inference_arguments(workers, steps=STEPS, nbatches=1, **flags), "--events", path)
    assert done.returncode == 0, done.stderr
    return read_events(path)


def by_rank(events: list[dict[str, Any]]) -> dict[int, dict[str, dict[str, Any]]]:
    """Each rank's spans, by phase."""
    ranks = [event for event in events if event["event"] == "rank"]
    return {rank["rank"]: {spans["phase"]: spans for spans in rank["spans"]} for rank in ranks}


def total_us(spans: dict[str, Any]) -> float:
    return sum(spans["us"].values()) + sum(us for _, us in spans["waited_us"])


def test_the_spans_of_all_ranks_lie_in_their_phases(tmp_path: Path, workers: list[Node]) -> None:
    events = request(tmp_path / "e", workers)
    steps = [event for event in events if event["event"] == "step"]
    first = next(step for step in steps if step["phase"] == "decode")
    ranks = by_rank(events)
    assert sorted(ranks) == [0, 1, 2]
    n_prefill = steps.index(first) + 1  # the step that gives the first token is the last of it
    long_us = {
        "prefill": (first["end_ns"] - steps[0]["start_ns"]) / 1e3,
        "decode": (steps[-1]["end_ns"] - first["end_ns"]) / 1e3,
    }
    for rank, phases in ranks.items():
        assert {phase: spans["steps"] for phase, spans in phases.items()} == {
            "prefill": n_prefill, "decode": len(steps) - n_prefill,
        }  # fmt: skip
        for phase, spans in phases.items():
            kinds = COMPUTED | {"exchange-copy", "exchange-wire"}
            kinds |= OF_ROOT[phase] if rank == 0 else set()
            assert set(spans["us"]) == kinds, (rank, phase)
            assert all(us > 0 for us in spans["us"].values())
            assert {peer for peer, _ in spans["waited_us"]} <= {0, 1, 2} - {rank}
            if rank == 0:  # whose clock the phase was measured by
                assert total_us(spans) <= long_us[phase]


def test_a_root_alone_exchanges_nothing(tmp_path: Path) -> None:
    (phases,) = by_rank(request(tmp_path / "e", [])).values()
    for phase, spans in phases.items():
        assert set(spans["us"]) == COMPUTED | OF_ROOT[phase]
        assert spans["waited_us"] == []


def test_spans_can_be_left_out_and_change_no_number(tmp_path: Path, workers: list[Node]) -> None:
    on, off = request(tmp_path / "a", workers), request(tmp_path / "b", workers, spans="off")
    assert by_rank(off) == {0: {}, 1: {}, 2: {}}
    tops = [[step["top"] for step in events if step["event"] == "step"] for events in (on, off)]
    assert tops[0] == tops[1]


@pytest.mark.parametrize("spans", ["on", "off"])
def test_slowed_work_gives_the_same_numbers(tmp_path: Path, spans: str) -> None:
    plain = request(tmp_path / "a", [])
    slow = request(tmp_path / "b", [], spans=spans, inject="output-projection=100%")
    tops = [[step["top"] for step in events if step["event"] == "step"] for events in (plain, slow)]
    assert tops[0] == tops[1]


def much_slower(what: str, path: Path, workers: list[Node]) -> list[dict[str, Any]]:
    """A hundred times: more than other programs take away from anything else."""
    line: list[object] = [*"inference --model tiny --prompt Hello --steps 64 --seed 1".split()]
    line += ["--workers", *(worker.address for worker in workers)] if workers else []
    path.unlink(missing_ok=True)
    done = run(*line, "--inject", f"{what}=10000%", "--events", path)
    assert done.returncode == 0, done.stderr
    return read_events(path)


def test_the_smallest_kind_of_work_becomes_the_largest(tmp_path: Path) -> None:
    largest = in_a_quiet_moment(
        lambda: largest_work(much_slower("output-projection", tmp_path / "e", []), 0),
        lambda kind: kind == "output-projection",
    )
    assert largest == "output-projection"


def largest_work(events: list[dict[str, Any]], rank: int) -> str:
    us = by_rank(events)[rank]["decode"]["us"]
    return max(COMPUTED, key=us.__getitem__)


def share_of_waiting(events: list[dict[str, Any]], rank: int, peer: int) -> float:
    waited = dict(by_rank(events)[rank]["decode"]["waited_us"])
    return float(waited[peer] / sum(waited.values()))


def test_the_others_wait_for_a_slow_rank(tmp_path: Path, workers: list[Node]) -> None:
    slow = start_worker(tmp_path, "slow", "--inject", "rank=2:feed-forward=10000%")

    def measure() -> tuple[bool, bool, str]:
        events = much_slower("rank=2:feed-forward", tmp_path / "e", [workers[0], slow])
        # Not always the most: a rank that shares its core with another test is waited for as well.
        waits = [share_of_waiting(events, rank, peer=2) > 0.25 for rank in (0, 1)]
        return waits[0], waits[1], largest_work(events, 2)

    wanted = (True, True, "feed-forward")
    try:
        found = in_a_quiet_moment(measure, lambda found: found == wanted)
    finally:
        slow.stop(signal.SIGKILL)
    assert "Slowed down on purpose: --inject rank=2" in slow.log
    assert found == wanted


def test_a_summary_whose_spans_do_not_fit_names_its_sender() -> None:
    data: dict[str, Any] = {
        "rank": 1, "hostname": "h", "pid": 1, "peak_rss_bytes": 1, "peak_pss_bytes": None,
        "weight_bytes": 1, "kv_cache_bytes": 1, "compute_us": 1.0, "sync_us": 1.0, "links": [],
    }  # fmt: skip
    phase = {"phase": "decode", "steps": 2, "us": {"qkv": 1.5}, "waited_us": [[0, 2.5]]}
    read = RankSummary.from_json(data | {"spans": [phase]}, "worker 1")
    assert read.spans[0].waited_us == ((0, 2.5),)
    assert RankSummary.from_json(read.to_json(), "worker 1") == read
    for spans in ([{"phase": "decode"}], [phase | {"waited_us": [[1]]}], 5):
        with pytest.raises(WireError, match="the summary of worker 1 does not fit"):
            RankSummary.from_json(data | {"spans": spans}, "worker 1")
