"""What is hard to read in a file of spans, made by hand: nothing of it may get lost in Perfetto."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dllama_engine.tables.links import NOTHING
from dllama_engine.tables.spans import SAMPLING
from dllama_engine.tables.timeline import (
    END_NS,
    HEARD_NS,
    PEERS,
    RECV_NUMBER,
    SEND_NUMBER,
    SENT_NS,
    START_NS,
    WHOLE_NS,
    exchange_words,
)
from dllama_engine.telemetry.timeline import RankTrace, Timeline
from dllama_engine.tracing.perfetto import trace_file
from dllama_engine.wire.clock import SAME, Clock, Reading
from tests.engine.tracing.importer import MAX_DEPTH, TO_NS, Event, imported
from tests.engine.tracing.trace_format import problems
from tests.engine.tracing.trace_processor import loaded, needs_it

NUMBERS = range(7, 27)
MEASURED_NS = (-900, 0, 700, 1_600)  # by which a clock seems to be ahead
NO_IDS = ("0-1-7", "1_0", "", "0x", 1.5, 2**63, True, None)
EVERY_NS, TAKES_NS = 1_000, 1_700  # of two exchanges that are under way the second waits its turn


def _timeline(peer: int, exchanges: list[dict[int, int]], ends: list[int]) -> Timeline:
    """Of one of two ranks: words of each exchange, and work one behind the other."""
    rows = np.full((len(exchanges), exchange_words(2)), NOTHING, np.int64)
    rows[:, :PEERS] = 0
    for row, words in zip(rows, exchanges, strict=True):
        for column, value in words.items():
            at = 0 if column in (START_NS, END_NS) else PEERS + 8 * peer
            row[at + column] = value
    work = [(SAMPLING, *times) for times in zip([0, *ends[:-1]], ends, strict=True)]
    steps = np.zeros((0, 5), np.int64)
    n = len(exchanges)
    return Timeline(2, np.array(work, np.int64), rows, steps, len(work), n)


def _sender() -> Timeline:
    begun = [(1_001 + EVERY_NS * i, number) for i, number in enumerate(NUMBERS)]
    exchanges = [
        {START_NS: ns, END_NS: ns + TAKES_NS, SEND_NUMBER: number, SENT_NS: ns + TAKES_NS}
        for ns, number in begun
    ]
    return _timeline(1, exchanges, [1_001, 1_001, 2_009, 3_333])


def _receiver(offset_ns: int) -> Timeline:
    came = [(1_000 + TAKES_NS + EVERY_NS * i + offset_ns, n) for i, n in enumerate(NUMBERS)]
    exchanges = [
        {START_NS: ns, END_NS: ns, RECV_NUMBER: number, HEARD_NS: ns, WHOLE_NS: ns}
        for ns, number in came
    ]
    return _timeline(0, exchanges, [offset_ns + 1_500, offset_ns + 1_501])


def _trace(measured_ns: int) -> dict[str, Any]:
    """The receiver's clock is as the root's; it was measured to be so far ahead."""
    clock = Clock(*2 * (Reading(0, measured_ns, abs(measured_ns)),))
    traces = [RankTrace(0, "local", _sender(), SAME), RankTrace(1, "pi", _receiver(0), clock)]
    found: dict[str, Any] = json.loads(b"".join(trace_file(traces, {})))
    return found


@pytest.mark.parametrize("measured_ns", MEASURED_NS)
def test_all_slices_and_arrows_arrive(measured_ns: int) -> None:
    """Two exchanges under way, work that takes no time, a clock that is off by two messages."""
    trace = _trace(measured_ns)
    assert problems(trace) == []
    for to_ns in TO_NS:
        found = imported(trace["traceEvents"], to_ns)
        assert found.slices == 4 + 2 + 4 * len(NUMBERS)
        joined = [(left["args"]["number"], came["args"]["number"]) for left, came in found.flows]
        assert sorted(joined) == [(number, number) for number in NUMBERS]


def test_texts_of_the_run_are_characters_that_every_reader_takes() -> None:
    """A byte that is no text, and one that Perfetto takes for a control character, in a prompt."""
    about = {"model": "\udcff.m", "command": "--prompt \x7f\x01 \ud55c\uad6d\uc5b4"}
    written = b"".join(trace_file([RankTrace(0, "local", _sender(), SAME)], about))
    assert {byte for byte in written if not 0x20 <= byte < 0x7F} == {ord("\n")}
    other = json.loads(written)["otherData"]
    assert {key: other[key] for key in about} == about


SPOILT: list[tuple[str, Event]] = [
    *(("flow_invalid_id", {"ph": "s", "id": name}) for name in NO_IDS),
    ("slice_drop_overlapping_complete_event", {"ph": "X", "ts": 1.5}),
    ("slice_negative_duration", {"ph": "X", "dur": -1.0}),
    ("flow_end_without_start", {"ph": "s", "cat": "another"}),
]
AT_ONCE = [{"ph": "X", "pid": 0, "tid": 9, "name": "x", "ts": 1, "dur": 0}] * (MAX_DEPTH + 2)


def _spoilt(changes: Event) -> dict[str, Any]:
    trace = _trace(0)
    next(e for e in trace["traceEvents"] if e["ph"] == changes["ph"]).update(changes)
    return trace


def test_the_reader_finds_what_perfetto_would_lose() -> None:
    """Ids that are no numbers, slices that overlap, lie too deep or end before they begin."""
    for name, changes in SPOILT:
        assert imported(_spoilt(changes)["traceEvents"]).errors[name] == 1, (name, changes)
    found = imported(AT_ONCE)
    assert (found.slices, found.errors["slice_max_depth_exceeded"]) == (MAX_DEPTH, 2)


@needs_it
def test_perfettos_own_processor_finds_the_same(tmp_path: Path) -> None:
    """What is hard to read, and what is wrong: our reader counts what Perfetto counts."""
    traces = [*map(_trace, MEASURED_NS), *(_spoilt(changes) for _, changes in SPOILT)]
    for trace in [*traces, {"traceEvents": AT_ONCE}]:
        ours, theirs = imported(trace["traceEvents"]), loaded(tmp_path, trace)
        assert (ours.slices, len(ours.flows)) == (theirs.slices, theirs.flows)
        assert ours.errors == theirs.errors


@pytest.mark.parametrize(
    ("phase", "changes"),
    [
        ("f", {"bp": "x"}),
        ("s", {"id": True}),
        ("s", {"cat": ""}),
        ("X", {"ts": math.inf}),
        ("X", {"tid": True}),
        ("X", {"pid": 2**32}),
        ("X", {"args": []}),
        ("M", {"args": {"name": ""}}),
        ("M", {"tid": 0}),
    ],
)
def test_the_reader_finds_what_perfetto_would_take_otherwise(phase: str, changes: Event) -> None:
    assert problems(_spoilt({"ph": phase} | changes))
