"""What compiled code keeps of time as it passes: sums, histograms, and the last raw spans.

Each is a table at an address; where the address is 0 nothing of it is kept. Of an exchange all is
noted at its end; the clock is read meanwhile only for raw spans. Its times go to the histograms in
batches, as peers may be waiting for what comes after an exchange.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.ops.compiled import entry
from dllama_engine.tables.histograms import (
    BUCKETS,
    DURATION,
    FIRST_BUCKET,
    HISTOGRAM_WORDS,
    MAX_NS,
    MEASURES,
    OCTAVE_BITS,
    PEER_TIMES,
    PER_OCTAVE,
    RANKS,
    ROWS_AT,
    SUM_NS,
    TABLE_AT,
    USED,
    WAITED_EACH_NS,
    WAITING,
)
from dllama_engine.tables.histograms import ROOM as ROOM_FOR
from dllama_engine.tables.links import (
    DURATION_NS,
    ENDED_NS,
    HEADER_BYTES,
    HEARD_AT_NS,
    HEARD_IN,
    HIDDEN_NS,
    HISTOGRAMS_AT,
    IS_NEXT,
    KIND,
    NOTHING,
    OUT_AT_NS,
    OUT_BYTES,
    OUT_NUMBER,
    RECV_SEQUENCE,
    SENT_AT_NS,
    SPANS_AT,
    START_NS,
    TIMELINE_AT,
    TO_RECV,
    WAITED_NS,
    WHOLE_AT_NS,
)
from dllama_engine.tables.spans import KINDS, WAITED, WIRE
from dllama_engine.tables.timeline import (
    END_NS,
    FRAME_KIND,
    NOTHING_MOVED_NS,
    PEER_WORDS,
    PEERS,
    RECV_NUMBER,
    RECV_PAYLOAD,
    ROOM,
    SEND_NUMBER,
    SEND_PAYLOAD,
    SENT_NS,
    SPAN_END_NS,
    SPAN_KIND,
    SPAN_START_NS,
    SPAN_WIDTH,
    WAS_LAST,
    WHOLE_NS,
    WRITTEN,
)
from dllama_engine.tables.timeline import HEARD_NS as FIRST_HEARD_NS
from dllama_engine.tables.timeline import START_NS as BEGUN_NS


@njit(nogil=True)
def bucket_of(ns: int) -> Any:
    """Which bucket of a histogram a time belongs to."""
    octave, sub = np.int64(0), np.int64(ns)
    while sub >= 2 * PER_OCTAVE:
        sub >>= 1
        octave += 1
    return min((octave << OCTAVE_BITS) + sub, BUCKETS - 1)


@njit(nogil=True)
def add_time(histogram: Any, ns: int) -> None:
    """One more time; `histogram` is int64 (HISTOGRAM_WORDS,)."""
    histogram[SUM_NS] += ns
    histogram[MAX_NS] = max(histogram[MAX_NS], ns)
    histogram[FIRST_BUCKET + bucket_of(ns)] += 1


@njit(inline="always")
def _last_heard(links: Any) -> Any:
    """In which sweep the last frame began to come, and of how many peers."""
    last, n_last = np.int64(NOTHING), np.int64(0)
    for rank in range(links.shape[0]):
        heard = links[rank, HEARD_IN]
        if heard > last:
            last, n_last = heard, np.int64(1)
        elif heard == last:
            n_last += 1
    return last, n_last


@njit(nogil=True)
def keep_exchange(links: Any, mesh: Any) -> None:
    """An exchange has ended: into every table that is kept.

    Frames that began to come between two sweeps share the waiting: nobody saw which was the last.
    """
    if mesh[SPANS_AT] == 0 and mesh[HISTOGRAMS_AT] == 0 and mesh[TIMELINE_AT] == 0:
        return
    last, n_last = _last_heard(links)
    waited_ns: Any = mesh[WAITED_NS] if last != NOTHING else np.int64(0)
    if waited_ns > 0 and n_last > 1:
        waited_ns //= n_last
    if mesh[SPANS_AT] != 0:
        _count_spans(links, mesh, last, waited_ns)
    if mesh[HISTOGRAMS_AT] != 0:
        _note_times(links, mesh[HISTOGRAMS_AT], last, waited_ns)
    if mesh[TIMELINE_AT] != 0:
        _keep_raw(links, mesh, last)


@njit(inline="always")
def _count_spans(links: Any, mesh: Any, last: int, waited_ns: int) -> None:
    """Waiting for whose frame came last, and the rest."""
    world_size = links.shape[0]
    spans = carray(pointer(mesh[SPANS_AT]), (KINDS + world_size,), np.int64)
    spent_ns = mesh[ENDED_NS] - mesh[START_NS] - mesh[HIDDEN_NS]
    if waited_ns > 0:
        for rank in range(world_size):
            if links[rank, HEARD_IN] == last:
                spans[WAITED + rank] += waited_ns
                spent_ns -= waited_ns
    spans[WIRE] += spent_ns


@njit(inline="always")
def _note_times(links: Any, pending_at: int, last: int, waited_ns: int) -> None:
    """Of every link on which a frame was due, to be counted later."""
    world_size = links.shape[0]
    head = carray(pointer(pending_at), (ROWS_AT,), np.int64)
    if head[USED] == head[ROOM_FOR]:
        _count_pending(pending_at)
    width = PEER_TIMES + world_size
    row = carray(pointer(pending_at + 8 * (ROWS_AT + width * head[USED])), (width,), np.int64)
    row[WAITED_EACH_NS] = waited_ns
    for rank in range(world_size):
        link = links[rank]
        was_last = np.int64(link[HEARD_IN] == last)
        is_due = link[TO_RECV] > 0
        row[PEER_TIMES + rank] = link[DURATION_NS] << 1 | was_last if is_due else np.int64(NOTHING)
    head[USED] += 1


@njit(nogil=True)
def _count_pending(pending_at: int) -> None:
    """Count what was noted; from then on there is room again."""
    head = carray(pointer(pending_at), (ROWS_AT,), np.int64)
    world_size, width = head[RANKS], PEER_TIMES + head[RANKS]
    rows = carray(pointer(pending_at + 8 * ROWS_AT), (head[USED], width), np.int64)
    shape = (world_size, MEASURES, HISTOGRAM_WORDS)
    histograms = carray(pointer(head[TABLE_AT]), shape, np.int64)
    for i in range(head[USED]):
        for rank in range(world_size):
            times = rows[i, PEER_TIMES + rank]
            if times != NOTHING:
                was_last = times & 1
                add_time(histograms[rank, DURATION], times >> 1)
                add_time(histograms[rank, WAITING], was_last * rows[i, WAITED_EACH_NS])
    head[USED] = 0


@entry(1)
def count_pending(pending_at: int) -> None:
    """Count exchanges that were noted (`tables.histograms`) and are not counted yet."""
    _count_pending(pending_at)


@njit(nogil=True)
def _row_at(ring_at: int, width: int) -> Any:
    """The next row of a ring; the oldest is overwritten."""
    head = carray(pointer(ring_at), (2,), np.int64)
    row = 1 + head[WRITTEN] % head[ROOM]
    head[WRITTEN] += 1
    return carray(pointer(ring_at + 8 * width * row), (width,), np.int64)


@njit(nogil=True)
def _keep_raw(links: Any, mesh: Any, last: int) -> None:
    world_size, start_ns = links.shape[0], mesh[START_NS]
    row = _row_at(mesh[TIMELINE_AT], PEERS + PEER_WORDS * world_size)
    row[FRAME_KIND], row[BEGUN_NS], row[END_NS] = mesh[KIND], start_ns, mesh[ENDED_NS]
    row[NOTHING_MOVED_NS] = mesh[WAITED_NS]
    for rank in range(world_size):
        link, at = links[rank], PEERS + PEER_WORDS * rank
        row[at + SEND_NUMBER] = row[at + RECV_NUMBER] = NOTHING
        row[at + WAS_LAST] = 0
        if link[OUT_BYTES] > 0:
            row[at + SEND_NUMBER] = link[OUT_NUMBER]
            row[at + SEND_PAYLOAD] = link[OUT_BYTES] - HEADER_BYTES
            has_next = mesh[IS_NEXT] != 0
            row[at + SENT_NS] = link[OUT_AT_NS] if has_next else link[SENT_AT_NS]
        if link[TO_RECV] > 0:
            row[at + RECV_NUMBER] = (link[RECV_SEQUENCE] - 1) & 0xFFFF
            row[at + RECV_PAYLOAD] = link[TO_RECV] - HEADER_BYTES
            row[at + FIRST_HEARD_NS] = link[HEARD_AT_NS]
            row[at + WHOLE_NS] = link[WHOLE_AT_NS]
            row[at + WAS_LAST] = link[HEARD_IN] == last


@njit(nogil=True)
def keep_span(ring_at: int, kind: int, start_ns: int, end_ns: int) -> None:
    """Work of a kind has ended: a row more, or the row before becomes longer."""
    head = carray(pointer(ring_at), (2,), np.int64)
    if head[WRITTEN] > 0:
        at = 1 + (head[WRITTEN] - 1) % head[ROOM]
        before = carray(pointer(ring_at + 8 * SPAN_WIDTH * at), (SPAN_WIDTH,), np.int64)
        if before[SPAN_KIND] == kind and before[SPAN_END_NS] == start_ns:
            before[SPAN_END_NS] = end_ns
            return
    row = _row_at(ring_at, SPAN_WIDTH)
    row[SPAN_KIND], row[SPAN_START_NS], row[SPAN_END_NS] = kind, start_ns, end_ns
