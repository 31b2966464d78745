"""`--trace`: a file of all ranks that tells the same as the counters, whole or not at all."""

from __future__ import annotations

import base64
import errno
import json
import os
import signal
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dllama_engine.errors import OutputError, WireError
from dllama_engine.tables.spans import SAMPLING
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.timeline import WORK_ROOM, RankTrace, Timeline, TimelineKeeper
from dllama_engine.tracing import trace_file
from dllama_engine.tracing.perfetto import (
    COMPUTE,
    EXCHANGE,
    FROM_PEER,
    STEPS,
    TO_PEER,
    arrow_id,
)
from dllama_engine.tracing.trace_file import write_trace
from dllama_engine.wire.clock import SAME
from tests.engine.processes import Node, inference_arguments, read_events, run, start_worker
from tests.engine.tracing.trace_format import problems
from tests.engine.tracing.trace_processor import Loaded, loaded, needs_it

N_STEPS = 24


@dataclass(frozen=True)
class Traced:
    """A traced request on three nodes, its prompt in halves."""

    trace: dict[str, Any]
    events: list[dict[str, Any]]
    text: str

    def slices(self, rank: int, track: int) -> list[dict[str, Any]]:
        return [
            event
            for event in self.trace["traceEvents"]
            if (event["ph"], event["pid"], event["tid"]) == ("X", rank, track)
        ]

    def rank(self, rank: int) -> dict[str, Any]:
        return next(e for e in self.events if e["event"] == "rank" and e["rank"] == rank)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    folder = tmp_path_factory.mktemp("workers")
    nodes = [start_worker(folder, f"w{i}") for i in range(2)]
    yield nodes
    for node in nodes:
        node.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def traced(workers: list[Node], tmp_path_factory: pytest.TempPathFactory) -> Traced:
    folder = tmp_path_factory.mktemp("traced")
    line = inference_arguments(workers, steps=N_STEPS, trace=folder / "t.json", overlap="on")
    done = run(*line, "--events", folder / "e")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["e", "t.json"]
    return Traced(
        json.loads((folder / "t.json").read_text("utf-8")), read_events(folder / "e"), done.stdout
    )


def test_the_file_is_what_perfetto_reads(traced: Traced) -> None:
    assert problems(traced.trace)[:5] == []
    named = {
        (event["pid"], event["args"]["name"])
        for event in traced.trace["traceEvents"]
        if event["name"] == "process_name"
    }
    assert [name.split(" ")[:3] for _, name in sorted(named)] == [
        ["rank", "0:", "root"], ["rank", "1:", "worker"], ["rank", "2:", "worker"],
    ]  # fmt: skip


def test_every_step_of_every_rank_is_there(traced: Traced) -> None:
    told = [event for event in traced.events if event["event"] == "step"]
    for rank in range(3):
        steps = traced.slices(rank, STEPS)
        assert [step["args"]["pos"] for step in steps] == [step["pos"] for step in told]


def test_the_slices_add_up_to_the_counters(traced: Traced) -> None:
    """Compiled code counts sums and keeps spans by the same readings of the clock."""
    for rank in range(3):
        sums: defaultdict[str, float] = defaultdict(float)
        for phase in traced.rank(rank)["spans"]:
            for kind, us in phase["us"].items():
                sums[kind] += us
        found: defaultdict[str, float] = defaultdict(float)
        for one in traced.slices(rank, COMPUTE):
            found[one["name"]] += one["dur"]
        assert set(found) == set(sums) - {"exchange-wire"}
        for kind, us in found.items():
            assert us == pytest.approx(sums[kind], rel=0.01, abs=1.0), (rank, kind)


def test_every_frame_of_the_request_is_sent_and_received_once(traced: Traced) -> None:
    events = traced.trace["traceEvents"]
    for source in range(3):
        for target in {0, 1, 2} - {source}:
            sent = [one["args"]["number"] for one in traced.slices(source, TO_PEER + target)]
            got = [one["args"]["number"] for one in traced.slices(target, FROM_PEER + source)]
            assert sent == got
            assert len(set(sent)) == len(sent) >= N_STEPS
            ids = {arrow_id(source, target, number) for number in sent}
            assert len([e for e in events if e.get("id") in ids]) == 2 * len(sent)


def test_no_message_comes_before_it_was_sent(traced: Traced) -> None:
    """All ranks are processes of this machine, and read one clock."""
    assert {rank["clock_error_us"] for rank in traced.trace["otherData"]["ranks"]} == {0}
    for source in range(3):
        for target in {0, 1, 2} - {source}:
            sent = traced.slices(source, TO_PEER + target)
            begins = {one["args"]["number"]: one["ts"] for one in sent}
            for one in traced.slices(target, FROM_PEER + source):
                assert one["ts"] >= begins[one["args"]["number"]], one


def test_waiting_is_in_its_exchange_and_has_a_name(traced: Traced) -> None:
    for rank in range(3):
        slices = traced.slices(rank, EXCHANGE)
        waits = [one for one in slices if one["name"].startswith("wait for rank ")]
        assert waits
        assert {one["name"] for one in slices} - {one["name"] for one in waits} == {
            "SYNC_WITH_ROOT", "SYNC_NODE_SLICES", "SYNC_LOGITS",
        }  # fmt: skip
        assert not any(one["name"] == f"wait for rank {rank}" for one in waits)


def test_people_hear_of_the_clocks_and_the_file(traced: Traced) -> None:
    line = next(line for line in traced.text.splitlines() if line.startswith("🧭 Trace:"))
    assert "3 ranks" in line
    assert "one clock" in line
    other = traced.trace["otherData"]
    assert [rank["work_spans_overwritten"] for rank in other["ranks"]] == [0, 0, 0]
    assert "at most its clock_error_us" in other["clock"]


def test_every_rank_tells_of_its_links(traced: Traced) -> None:
    """The histograms of the same request: what the trace shows, counted."""
    for rank in range(3):
        told = traced.rank(rank)
        n = {link["peer"]: link["duration"]["n"] for link in told["times"]}
        assert set(n) == {0, 1, 2} - {rank}
        for peer, count in n.items():
            by_python = N_STEPS if (rank, peer) in ((1, 0), (2, 0)) else 0
            received = traced.slices(rank, FROM_PEER + peer)
            steps = len(traced.slices(rank, STEPS)) if by_python else 0
            assert count == len(received) - steps
        assert [link["peer"] for link in told["tcp"]] == sorted(n)
        assert all(link["segments"] > 0 for link in told["tcp"])
        assert [nic["name"] for nic in told["nics"]] == ["lo"]


def test_it_goes_with_the_events_too_and_needs_no_spans(
    tmp_path: Path, workers: list[Node]
) -> None:
    line = inference_arguments(workers[:1], steps=12, trace="-", spans="off")
    done = run(*line, "--events", tmp_path / "e")
    assert done.returncode == 0, done.stderr
    events = read_events(tmp_path / "e")
    parts = [event for event in events if event["event"] == "trace_part"]
    assert [part["index"] for part in parts] == list(range(parts[0]["parts"]))
    data = base64.b64decode("".join(part["data"] for part in parts))
    trace = json.loads(zlib.decompress(data))
    assert problems(trace)[:5] == []
    assert {event["pid"] for event in trace["traceEvents"]} == {0, 1}
    ranks = [event for event in events if event["event"] == "rank"]
    assert [rank["times"] for rank in ranks] == [[], []]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("missing/t.json", "there is no folder"),
        (".", "no regular file"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, target: str, words: str
) -> None:
    done = run(*inference_arguments(), "--trace", tmp_path / target)
    assert done.returncode == 1
    assert f"--trace {tmp_path / target}" in done.stderr
    assert words in done.stderr
    assert "Weights loaded" not in done.stdout


def test_the_event_stream_must_be_there_for_it() -> None:
    done = run(*inference_arguments(), "--trace", "-")
    assert done.returncode == 2
    assert "give --events too" in done.stderr


def test_a_ring_keeps_the_last_and_says_how_many_there_were() -> None:
    keeper = TimelineKeeper(1)
    n = WORK_ROOM + 10
    for i in range(n):
        keeper.add(SAMPLING, i, i + 1)
    kept = keeper.kept()
    assert kept.work[:, 1].tolist() == list(range(10, n))
    assert kept.n_work == n
    again = Timeline.unpacked(kept.packed(), "worker 1")
    assert np.array_equal(again.work, kept.work)
    assert (again.n_work, again.n_exchanges, len(again.steps)) == (n, 0, 0)
    keeper.forget()
    assert keeper.kept().n_work == 0


@pytest.mark.parametrize("data", [b"", b"no stream", zlib.compress(b"short"), None])
def test_spans_that_do_not_fit_name_their_sender(data: bytes | None) -> None:
    if data is None:  # one word too many
        data = zlib.compress(zlib.decompress(TimelineKeeper(2).kept().packed()) + bytes(8))
    with pytest.raises(WireError, match="the spans of worker 3 do not fit"):
        Timeline.unpacked(data, "worker 3")


@needs_it
def test_perfettos_own_processor_loads_it(tmp_path: Path, traced: Traced) -> None:
    phases = [event["ph"] for event in traced.trace["traceEvents"]]
    found = loaded(tmp_path, traced.trace)
    assert found == Loaded(phases.count("X"), phases.count("f"), 0, Counter())


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "t.json"
    target.write_text("old")
    kept = RankTrace(0, "local", TimelineKeeper(1).kept(), SAME)

    def full(traces: object, about: object) -> Iterator[bytes]:
        yield b"{"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert "1 rank, 0 spans; open it" in write_trace(str(target), [kept], {}, EventWriter(None))
    assert problems(json.loads(target.read_text())) == []
    target.write_text("old")
    monkeypatch.setattr(trace_file, "trace_file", full)
    with pytest.raises(OutputError, match=r"t\.json: it cannot be written \(No space left"):
        write_trace(str(target), [kept], {}, EventWriter(None))
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]
    assert target.read_text() == "old"
