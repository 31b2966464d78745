"""One rank's last raw spans: what it worked on, every exchange, every step, with their times.

Two rings that compiled code writes to (`tables.timeline`), so that a run of any length takes the
same room: the oldest are overwritten, and the file says how many. They cross the wire when the
request is over, behind the rank's account.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from dataclasses import dataclass

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.errors import WireError
from dllama_engine.tables.links import NOTHING
from dllama_engine.tables.timeline import (
    END_NS,
    FRAME_KIND,
    HEARD_NS,
    NOTHING_MOVED_NS,
    PEER_WORDS,
    PEERS,
    RECV_NUMBER,
    RECV_PAYLOAD,
    ROOM,
    SEND_NUMBER,
    SPAN_END_NS,
    SPAN_KIND,
    SPAN_START_NS,
    SPAN_WIDTH,
    START_NS,
    WAS_LAST,
    WHOLE_NS,
    WRITTEN,
    exchange_words,
)
from dllama_engine.wire.clock import Clock
from dllama_engine.wire.frames import KINDS, SESSION
from dllama_engine.wire.links import Links

WORK_ROOM, EXCHANGE_ROOM, STEP_ROOM = 1 << 15, 1 << 13, 1 << 12
_EXCHANGE_BYTES = 8 << 20  # at most, with many ranks
STEP_WORDS = 5  # start and end in ns, position, tokens, logits
LARGEST_BYTES = 64 << 20  # of a rank's packed timeline
_HEAD = struct.Struct("<6q")


@dataclass(frozen=True, slots=True)
class Timeline:
    """What was kept of a rank, oldest first, and how much more there was."""

    world_size: int
    work: Table  # (n, SPAN_WIDTH)
    exchanges: Table  # (n, exchange_words(world_size))
    steps: Table  # (n, STEP_WORDS)
    n_work: int  # in all
    n_exchanges: int

    def packed(self) -> bytes:
        """For the wire."""
        arrays = self.work, self.exchanges, self.steps
        head = _HEAD.pack(self.world_size, self.n_work, self.n_exchanges, *map(len, arrays))
        return zlib.compress(head + b"".join(array.astype("<i8").tobytes() for array in arrays), 1)

    @classmethod
    def unpacked(cls, data: bytes, sender: str) -> Timeline:
        """The inverse of `packed`; `sender` is named where it is something else.

        Raises:
            WireError: it is no timeline, or larger than one can be.
        """
        try:
            inflate = zlib.decompressobj()
            raw = inflate.decompress(data, LARGEST_BYTES)
            world_size, n_work, n_exchanges, *sizes = _HEAD.unpack_from(raw)
            widths = SPAN_WIDTH, exchange_words(world_size), STEP_WORDS
            words = np.frombuffer(raw, "<i8", offset=_HEAD.size).astype(np.int64)
            ends = np.cumsum([n * width for n, width in zip(sizes, widths, strict=True)])
            if not inflate.eof or ends[-1] != len(words) or min(world_size, *sizes) < 0:
                raise ValueError(f"{len(words)} words of {ends[-1]}")
            parts = np.split(words, ends[:-1])
            work, exchanges, steps = (
                part.reshape(-1, width) for part, width in zip(parts, widths, strict=True)
            )
        except (struct.error, ValueError, zlib.error) as error:
            raise WireError(f"the spans of {sender} do not fit: {error}") from None
        return cls(world_size, work, exchanges, steps, n_work, n_exchanges)


@dataclass(frozen=True, slots=True)
class RankTrace:
    """A rank's raw spans, on its own clock, and what that is against the root's."""

    rank: int
    address: str
    timeline: Timeline
    clock: Clock


def send_timeline(links: Links, timeline: Timeline) -> None:
    """A worker hands its raw spans to the root."""
    data = timeline.packed()
    links.send_json(SESSION, 0, {"timeline_bytes": len(data)})
    links.send(SESSION, 0, data)


def receive_timeline(links: Links, rank: int, sender: str, timeout_s: float) -> Timeline:
    """The root takes them; `sender` is named where they are something else.

    Raises:
        WireError: they do not fit, or are larger than they can be.
    """
    told = links.receive_json(SESSION, rank, timeout_s=timeout_s)
    size = told.get("timeline_bytes") if isinstance(told, dict) else None
    if not isinstance(size, int) or not 0 < size <= LARGEST_BYTES:
        raise WireError(f"{sender} tells of {size} bytes of spans, at most {LARGEST_BYTES}", rank)
    buffer = bytearray(size)
    links.receive(SESSION, rank, buffer, timeout_s)
    return Timeline.unpacked(bytes(buffer), sender)


class TimelineKeeper:
    """The rings of one rank.

    Args:
        world_size: number of ranks.
    """

    def __init__(self, world_size: int) -> None:
        self._world_size = world_size
        width = exchange_words(world_size)
        self._work = _ring(WORK_ROOM, SPAN_WIDTH)
        self._exchanges = _ring(min(EXCHANGE_ROOM, _EXCHANGE_BYTES // (8 * width)), width)
        self._steps: deque[tuple[int, ...]] = deque(maxlen=STEP_ROOM)

    @property
    def work_at(self) -> int:
        """Address of the ring of work."""
        return int(self._work.ctypes.data)

    @property
    def exchanges_at(self) -> int:
        """Address of the ring of exchanges."""
        return int(self._exchanges.ctypes.data)

    def forget(self) -> None:
        """What was kept so far is not of the request."""
        self._work[0, WRITTEN] = self._exchanges[0, WRITTEN] = 0
        self._steps.clear()

    def add(self, kind: int, start_ns: int, end_ns: int) -> None:
        """Work that Python did, by `tables.spans`."""
        row = _next(self._work)
        row[SPAN_KIND], row[SPAN_START_NS], row[SPAN_END_NS] = kind, start_ns, end_ns

    def add_step(self, start_ns: int, end_ns: int, pos: int, n_tokens: int, n_logits: int) -> None:
        """One forward pass."""
        self._steps.append((start_ns, end_ns, pos, n_tokens, n_logits))

    def add_receipt(
        self, op: str, peer: int, begun_ns: int, whole_ns: int, number: int, moving_ns: int
    ) -> None:
        """A single frame that Python waited for and received, without its size."""
        row = _next(self._exchanges)
        row[:] = 0
        peers = row[PEERS:].reshape(self._world_size, PEER_WORDS)
        peers[:, [SEND_NUMBER, RECV_NUMBER]] = NOTHING
        row[FRAME_KIND], row[START_NS], row[END_NS] = KINDS[op], begun_ns, whole_ns
        row[NOTHING_MOVED_NS] = whole_ns - moving_ns - begun_ns
        link = peers[peer]
        link[RECV_NUMBER], link[RECV_PAYLOAD], link[WAS_LAST] = number, NOTHING, 1
        link[HEARD_NS], link[WHOLE_NS] = whole_ns - moving_ns, whole_ns

    def kept(self) -> Timeline:
        """A copy of what there is."""
        steps = np.array(self._steps, np.int64).reshape(-1, STEP_WORDS)
        return Timeline(
            self._world_size,
            _in_order(self._work),
            _in_order(self._exchanges),
            steps,
            int(self._work[0, WRITTEN]),
            int(self._exchanges[0, WRITTEN]),
        )


def _ring(room: int, width: int) -> Table:
    table: Table = np.zeros((1 + room, width), np.int64)
    table[0, ROOM] = room
    return table


def _next(ring: Table) -> Table:
    row: Table = ring[1 + ring[0, WRITTEN] % ring[0, ROOM]]
    ring[0, WRITTEN] += 1
    return row


def _in_order(ring: Table) -> Table:
    written, room, rows = int(ring[0, WRITTEN]), int(ring[0, ROOM]), ring[1:]
    return np.roll(rows, -(written % room), axis=0) if written > room else rows[:written].copy()
