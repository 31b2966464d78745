"""What happened on one rank's links: operations, their durations and bytes; always recorded.

While a request runs, records are only copied; they become arrays when somebody looks.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dllama_engine.tables.links import (
    BUSY_NS,
    HEADER_BYTES,
    NOTHING,
    RECEIVED_BYTES,
    RECEIVED_MESSAGES,
    RECORD,
    RECORD_BYTES,
    RECORD_DURATION_NS,
    RECORD_KIND,
    SENT_BYTES,
    SENT_MESSAGES,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dllama_engine.arrays import Table


_MOST_UNREAD = 1024  # parts: each takes a kilobyte more than what it is read into


class LinkTrace:
    """Operations of one rank, in order, and the time each peer took in them."""

    __slots__ = ("_bytes", "_durations_ns", "_is_made", "_kinds", "_of", "_peers", "_unread")

    def __init__(self, peers: Collection[int]) -> None:
        self._of, self._is_made = peers, False
        self._unread: list[npt.NDArray[np.int64] | LinkTrace] = []  # come after the arrays

    def add_op(self, kind: int, duration_ns: int, n_bytes: int) -> None:
        """Record one operation."""
        self.kinds.append(kind)
        self._durations_ns.append(duration_ns)
        self._bytes.append(n_bytes)

    def add_records(self, records: npt.NDArray[np.int64]) -> None:
        """Take operations as compiled code writes them (`tables.links.RECORD`); they stay so."""
        if len(records):
            self._unread.append(records)

    def add_peer(self, peer: int, duration_ns: int) -> None:
        """Record when, in the present operation, a peer's frames were through."""
        self.peer_durations_ns[peer].append(duration_ns)

    def cut(self, n_traces: int, n_operations: int) -> list[LinkTrace]:
        """The first operations as traces of so many each; all as compiled code wrote them."""
        parts = [part for part in self._unread if not isinstance(part, LinkTrace)]
        traces, index, first = [LinkTrace(self._of) for _ in range(n_traces)], 0, 0
        for records in parts:
            while len(records) and index < n_traces:
                taken = records[: n_operations - first]
                traces[index].add_records(taken)
                records, first = records[len(taken) :], first + len(taken)
                if first == n_operations:
                    index, first = index + 1, 0
        return traces

    def extend(self, later: LinkTrace) -> None:
        """Append another trace's records, to which nothing is added any more."""
        self._unread.append(later)
        if len(self._unread) > _MOST_UNREAD:
            self._read()

    @property
    def kinds(self) -> array[int]:
        """What each operation was (`wire.frames.OPS`, from 1 on)."""
        self._read()
        return self._kinds

    @property
    def durations_ns(self) -> array[int]:
        """How long each took."""
        self._read()
        return self._durations_ns

    @property
    def bytes(self) -> array[int]:
        """Payload that each sent and received."""
        self._read()
        return self._bytes

    @property
    def peer_durations_ns(self) -> dict[int, array[int]]:
        """By peer, until its frames were through, in each operation that it had a part in."""
        self._read()
        return self._peers

    def _make(self) -> None:
        self._kinds, self._is_made = array("h"), True
        self._durations_ns, self._bytes = array("q"), array("q")
        self._peers = {peer: array("q") for peer in self._of}

    def _read(self) -> None:
        if not self._is_made:
            self._make()
        unread, self._unread = self._unread, []
        for part in unread:
            if isinstance(part, LinkTrace):
                self._take(part)
            else:
                self._take_records(part)

    def _take(self, later: LinkTrace) -> None:
        later._read()
        self._kinds.extend(later._kinds)
        self._durations_ns.extend(later._durations_ns)
        self._bytes.extend(later._bytes)
        for peer, durations_ns in later._peers.items():
            self._peers[peer].extend(durations_ns)

    def _take_records(self, records: npt.NDArray[np.int64]) -> None:
        self._kinds.extend(records[:, RECORD_KIND].tolist())
        self._durations_ns.frombytes(records[:, RECORD_DURATION_NS].tobytes())
        self._bytes.frombytes(records[:, RECORD_BYTES].tobytes())
        for peer, durations_ns in self._peers.items():
            column = records[:, RECORD + peer]
            durations_ns.frombytes(column[column != NOTHING].tobytes())


@dataclass(frozen=True, slots=True)
class LinkCount:
    """What one socket moved; busy as `LinkTotals` says."""

    peer: int
    sent_payload_bytes: int
    sent_framing_bytes: int
    recv_payload_bytes: int
    recv_framing_bytes: int
    sent_messages: int
    recv_messages: int
    busy_us: float


@dataclass(frozen=True, slots=True)
class LinkTotals:
    """Payload bytes, messages and busy time of every link; arrays are indexed by the peer's rank.

    A link is busy from the start of an operation until the peer's frame of it is through.
    """

    sent_bytes: array[int]
    recv_bytes: array[int]
    sent_messages: array[int]
    recv_messages: array[int]
    busy_ns: array[int]

    def __sub__(self, earlier: LinkTotals) -> LinkTotals:
        return LinkTotals(
            _difference(self.sent_bytes, earlier.sent_bytes),
            _difference(self.recv_bytes, earlier.recv_bytes),
            _difference(self.sent_messages, earlier.sent_messages),
            _difference(self.recv_messages, earlier.recv_messages),
            _difference(self.busy_ns, earlier.busy_ns),
        )

    def counts(self, own_rank: int) -> tuple[LinkCount, ...]:
        """What each link moved, but a rank's to itself."""
        return tuple(
            LinkCount(
                peer=peer,
                sent_payload_bytes=self.sent_bytes[peer],
                sent_framing_bytes=self.sent_messages[peer] * HEADER_BYTES,
                recv_payload_bytes=self.recv_bytes[peer],
                recv_framing_bytes=self.recv_messages[peer] * HEADER_BYTES,
                sent_messages=self.sent_messages[peer],
                recv_messages=self.recv_messages[peer],
                busy_us=self.busy_ns[peer] / 1e3,
            )
            for peer in range(len(self.sent_bytes))
            if peer != own_rank
        )


def totals_of(table: Table) -> LinkTotals:
    """The counters in a table of links (`tables.links`), int64 (world_size, LINK_WIDTH)."""
    counters = SENT_BYTES, RECEIVED_BYTES, SENT_MESSAGES, RECEIVED_MESSAGES, BUSY_NS
    return LinkTotals(*(array("q", table[:, field].tobytes()) for field in counters))


def _difference(later: array[int], earlier: array[int]) -> array[int]:
    return array("q", [a - b for a, b in zip(later, earlier, strict=True)])
