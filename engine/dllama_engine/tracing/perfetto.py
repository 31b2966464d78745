"""Raw spans of all ranks on one time line: a file of Chrome's trace event format, for Perfetto.

A process a rank; tracks for steps, work, exchanges with the waiting in them, and for each peer
what is sent and received; an arrow a message. Times are the root's: microseconds since the first
that is kept.

The format: "Trace Event Format" (Chromium), as ui.perfetto.dev and its trace processor read it:
slices of a track lie in each other or side by side to the nanosecond; an arrow's id is a number,
and its end comes behind its begin; a track whose id is that of its process is its main thread.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dllama_engine.tables.links import NOTHING
from dllama_engine.tables.spans import NAMES as WORK
from dllama_engine.tables.timeline import (
    END_NS,
    FRAME_KIND,
    HEARD_NS,
    NOTHING_MOVED_NS,
    PEER_WORDS,
    PEERS,
    RECV_NUMBER,
    RECV_PAYLOAD,
    SEND_NUMBER,
    SEND_PAYLOAD,
    SENT_NS,
    START_NS,
    WAS_LAST,
    WHOLE_NS,
)
from dllama_engine.telemetry.timeline import RankTrace
from dllama_engine.wire.frames import NAMES as OPS

STEPS, COMPUTE, EXCHANGE = 10_001, 10_002, 10_003  # tracks of every rank; ids that no rank has
TO_PEER, FROM_PEER = 20_000, 30_000  # and of each peer, by its rank
_RANKS, _NUMBERS = 1 << 10, 1 << 32  # of an arrow's id, which is below 2^53: exact in JavaScript


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file of a trace holds, for people."""

    ranks: int
    spans: int
    missing: int  # that were overwritten by later ones
    error_us: float  # of the clocks against the root's, at most


def kept(traces: Sequence[RankTrace]) -> Kept:
    """What the file will hold."""
    lines = [trace.timeline for trace in traces]
    there = [len(line.work) + len(line.exchanges) for line in lines]
    written = [line.n_work + line.n_exchanges for line in lines]
    error_ns = max((trace.clock.error_ns for trace in traces), default=0)
    return Kept(len(traces), sum(there), sum(written) - sum(there), error_ns / 1e3)


def trace_file(traces: Sequence[RankTrace], about: Mapping[str, Any]) -> Iterator[bytes]:
    """The file piece by piece: one JSON object.

    Args:
        traces: of all ranks.
        about: what the run was, for the metadata.
    """
    yield b'{"otherData":' + _json(dict(about) | _metadata(traces)) + b',"traceEvents":['
    begin_ns, between, arrows = _begin_ns(traces), b"\n", _arrows(traces)
    for trace in traces:
        events = [*_names(trace), *_RankEvents(trace, begin_ns, arrows).all()]
        yield between + b",\n".join(map(_json, events))
        between = b",\n"
    yield b"\n]}\n"


def _json(value: Mapping[str, Any]) -> bytes:
    r"""In characters of ASCII that can be seen: for a DEL in a text Perfetto refuses the file.

    >>> _json({"command": "dllama-py --prompt \x7f\u00fc"})
    b'{"command":"dllama-py --prompt \\u007f\\u00fc"}'
    """
    return json.dumps(value, separators=(",", ":")).replace("\x7f", r"\u007f").encode()


def _metadata(traces: Sequence[RankTrace]) -> dict[str, Any]:
    """Of each rank: its clock, and what is not there."""
    return {
        "clock": "CLOCK_MONOTONIC of rank 0; the others by their offset, measured over the links "
        "before and after the request: a time of rank r is off by at most its clock_error_us "
        "(0: that rank is a process of the root's machine, and reads the same clock)",
        "ranks": [
            {
                "rank": trace.rank,
                "address": trace.address,
                "clock_offset_us": trace.clock.first.offset_ns / 1e3,
                "clock_error_us": trace.clock.error_ns / 1e3,
                "clock_drift_ppm": round(trace.clock.drift_ppm, 3),
                "work_spans": len(trace.timeline.work),
                "work_spans_overwritten": trace.timeline.n_work - len(trace.timeline.work),
                "exchanges": len(trace.timeline.exchanges),
                "exchanges_overwritten": trace.timeline.n_exchanges - len(trace.timeline.exchanges),
            }
            for trace in traces
        ],
    }


def _begin_ns(traces: Sequence[RankTrace]) -> int:
    """The earliest time of all, on the root's clock."""
    starts = [
        trace.clock.on_root(int(rows[:, column].min()))
        for trace in traces
        for rows, column in (
            (trace.timeline.work, 1),
            (trace.timeline.exchanges, START_NS),
            (trace.timeline.steps, 0),
        )
        if len(rows)
    ]
    return min(starts, default=0)


def _names(trace: RankTrace) -> Iterator[dict[str, Any]]:
    """What the process and its tracks are called, in the order that they are shown."""
    rank, role = trace.rank, "worker" if trace.rank else "root"
    peers = [peer for peer in range(trace.timeline.world_size) if peer != rank]
    tracks = {STEPS: "steps", COMPUTE: "compute", EXCHANGE: "exchange, and waiting in it"}
    tracks |= {TO_PEER + peer: f"send to rank {peer}" for peer in peers}
    tracks |= {FROM_PEER + peer: f"receive from rank {peer}" for peer in peers}
    named = {"ph": "M", "pid": rank, "tid": STEPS}  # any of its tracks: what is new makes one
    yield named | {"name": "process_name", "args": {"name": f"rank {rank}: {role} {trace.address}"}}
    yield named | {"name": "process_sort_index", "args": {"sort_index": rank}}
    for tid, name in tracks.items():
        yield named | {"tid": tid, "name": "thread_name", "args": {"name": name}}
        yield named | {"tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}


Arrow = tuple[int, int, int]  # from, to, number of the frame


def arrow_id(source: int, target: int, number: int) -> int:
    """The id of a message's arrow.

    >>> arrow_id(0, 1, 43)
    4294967339
    """
    return (source * _RANKS + target) * _NUMBERS + number % _NUMBERS


def _arrows(traces: Sequence[RankTrace]) -> Mapping[Arrow, int]:
    """Messages of which both ends are there, and when they left on the root's clock."""
    sent: dict[Arrow, int] = {}
    received: set[Arrow] = set()
    for trace in traces:
        rank, rows = trace.rank, trace.timeline.exchanges
        for peer in range(trace.timeline.world_size):
            for row, begun_ns in _sendings(rows.tolist(), PEERS + PEER_WORDS * peer):
                arrow = (rank, peer, row[PEERS + PEER_WORDS * peer + SEND_NUMBER])
                sent[arrow] = trace.clock.on_root(begun_ns)
            numbers = rows[:, PEERS + PEER_WORDS * peer + RECV_NUMBER].tolist()
            received |= {(peer, rank, n) for n in numbers if n != NOTHING}
    return {arrow: ns for arrow, ns in sent.items() if arrow in received}


def _sendings(rows: list[list[int]], at: int) -> Iterator[tuple[list[int], int]]:
    """Exchanges with a frame for the peer whose words stand at `at`, and when its turn came.

    Of two exchanges that are under way the second one's frame waits until the first one's is gone.
    """
    gone_ns = 0
    for row in rows:
        if row[at + SEND_NUMBER] != NOTHING:
            yield row, max(row[START_NS], gone_ns)
            gone_ns = max(gone_ns, row[at + SENT_NS])


class _RankEvents:
    """The events of one rank, its times moved to the root's clock."""

    def __init__(self, trace: RankTrace, begin_ns: int, arrows: Mapping[Arrow, int]) -> None:
        self._trace, self._begin_ns, self._arrows = trace, begin_ns, arrows

    def all(self) -> Iterator[dict[str, Any]]:
        """Slices and arrows, track by track in the order of time."""
        timeline, rank = self._trace.timeline, self._trace.rank
        for start, end, pos, n_tokens, n_logits in timeline.steps.tolist():
            name = f"token at {pos}" if n_logits else f"prefill {pos} to {pos + n_tokens - 1}"
            yield self._slice(STEPS, name, start, end, pos=pos, tokens=n_tokens)
        for kind, start, end in timeline.work.tolist():
            yield self._slice(COMPUTE, WORK[kind], start, end)
        rows = timeline.exchanges.tolist()
        ended_ns = 0
        for row in rows:
            yield from self._exchange(row, ended_ns)
            ended_ns = max(ended_ns, row[END_NS])
        for peer in range(timeline.world_size):
            if peer != rank:
                at = PEERS + PEER_WORDS * peer
                yield from self._sent(rows, peer, at)
                yield from self._received(rows, peer, at)

    def _ns(self, ns: int) -> int:
        return self._trace.clock.on_root(ns) - self._begin_ns

    def _slice(self, track: int, name: str, start: int, end: int, **args: Any) -> dict[str, Any]:
        begin_ns = self._ns(start)
        return {
            "ph": "X", "pid": self._trace.rank, "tid": track, "name": name, "ts": _us(begin_ns),
            "dur": _us(max(self._ns(end) - begin_ns, 0)), "args": args,
        }  # fmt: skip

    def _exchange(self, row: list[int], ended_ns: int) -> Iterator[dict[str, Any]]:
        """The whole of it and, in it, waiting for whoever's message began to come last.

        It may have begun before the last one `ended_ns`, as two may be under way; slices of one
        track must not overlap.
        """
        start, end, idle = max(row[START_NS], ended_ns), row[END_NS], row[NOTHING_MOVED_NS]
        yield self._slice(EXCHANGE, OPS.get(row[FRAME_KIND], "?"), start, end)
        last = [
            peer
            for peer in range(self._trace.timeline.world_size)
            if row[PEERS + PEER_WORDS * peer + WAS_LAST]
        ]
        if idle > 0 and last:
            heard = max(row[PEERS + PEER_WORDS * peer + HEARD_NS] for peer in last)
            name = f"wait for rank {' and '.join(map(str, last))}"
            begun = max(start, heard - idle)
            yield self._slice(EXCHANGE, name, begun, min(heard, end), nothing_moved_us=idle / 1e3)

    def _sent(self, rows: list[list[int]], peer: int, at: int) -> Iterator[dict[str, Any]]:
        for row, begun_ns in _sendings(rows, at):
            number, gone_ns = row[at + SEND_NUMBER], row[at + SENT_NS]
            yield self._slice(TO_PEER + peer, OPS.get(row[FRAME_KIND], "?"), begun_ns, gone_ns,
                              bytes=row[at + SEND_PAYLOAD], number=number)  # fmt: skip
            arrow = (self._trace.rank, peer, number)
            yield from self._arrow("s", TO_PEER + peer, arrow, self._ns(begun_ns))

    def _received(self, rows: list[list[int]], peer: int, at: int) -> Iterator[dict[str, Any]]:
        came = [row for row in rows if row[at + RECV_NUMBER] != NOTHING]
        nexts = [*(self._ns(row[at + HEARD_NS]) for row in came[1:]), sys.maxsize]
        for row, next_ns in zip(came, nexts, strict=False):  # a time more where nothing came
            number, heard, whole = row[at + RECV_NUMBER], row[at + HEARD_NS], row[at + WHOLE_NS]
            known = {} if row[at + RECV_PAYLOAD] < 0 else {"bytes": row[at + RECV_PAYLOAD]}
            yield self._slice(FROM_PEER + peer, OPS.get(row[FRAME_KIND], "?"), heard, whole,
                              number=number, **known)  # fmt: skip
            arrow = (peer, self._trace.rank, number)
            left_ns = self._arrows.get(arrow, self._begin_ns) - self._begin_ns
            # By the error of clocks it may seem to come before it left; an arrow's end belongs to
            # the last slice that has begun, and is lost where it stands before the arrow's begin.
            ends_ns = max(self._ns(heard), min(left_ns + 1, next_ns - 1))
            yield from self._arrow("f", FROM_PEER + peer, arrow, ends_ns)

    def _arrow(self, phase: str, track: int, arrow: Arrow, ns: int) -> Iterator[dict[str, Any]]:
        """One end of a message's arrow, if it has two."""
        if arrow in self._arrows:
            end = {"bp": "e"} if phase == "f" else {}
            yield {
                "ph": phase, "cat": "message", "name": "message", "pid": self._trace.rank,
                "tid": track, "ts": _us(ns), "id": arrow_id(*arrow),
            } | end  # fmt: skip


def _us(ns: int) -> float:
    """Microseconds, and a tenth of a nanosecond: so who cuts off what is less finds this one.

    >>> _us(1_001), int(1.001 * 1000), int(_us(1_001) * 1000)
    (1.0011, 1000, 1001)
    """
    return round((ns + 0.1) / 1e3, 4)
