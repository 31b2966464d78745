"""Counters and tables of one rank's links, which compiled code works on, and their trace."""

from __future__ import annotations

import socket

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.tables.links import (
    CROWDED,
    HISTOGRAMS_AT,
    LINK_WIDTH,
    MESH_WORDS,
    NOTHING,
    OWN,
    RECORD,
    RECV_BYTES,
    RECV_SEQUENCE,
    ROUTE_WIDTH,
    SEND_BYTES,
    SPANS_AT,
    SPENT_NS,
    TIMELINE_AT,
    TRACE_AT,
    TRACE_ROWS,
    TRACE_USED,
)
from dllama_engine.wire.frames import view
from dllama_engine.wire.peer import Peer
from dllama_engine.wire.trace import LinkTotals, LinkTrace, totals_of

_TRACE_ROWS = 1024  # operations between two looks of Python at the trace


class CountedLinks:
    """Connected peers of one rank, without a way to move anything.

    Args:
        rank: this process.
        world_size: number of ranks, the root included.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size
        self.table: Table = np.zeros((world_size, LINK_WIDTH), np.int64)
        self.mesh: Table = np.zeros(MESH_WORDS + 2 * world_size, np.int64)
        self._words = view(self.mesh)  # the same: a word is read in a third of the time
        self._tables_at = self.table.ctypes.data, self.mesh.ctypes.data
        self._records: Table = np.zeros((_TRACE_ROWS, RECORD + world_size), np.int64)
        self.mesh[OWN] = rank
        self.share_cores(0)
        self.mesh[TRACE_AT], self.mesh[TRACE_ROWS] = self._records.ctypes.data, _TRACE_ROWS
        self._peers: dict[int, Peer] = {}
        self._trace = LinkTrace(())

    def add(self, rank: int, sock: socket.socket, address: str | None = None) -> None:
        """Connect one more peer; what was traced before is forgotten."""
        self._peers[rank] = Peer(rank, sock, self.table[rank], address)
        self._peers = dict(sorted(self._peers.items()))
        self._trace = LinkTrace(self._peers)

    def share_cores(self, apart: int) -> None:
        """Ranks share cores: who waits does not keep one busy, and frames go to others first.

        Who wakes a peer on its own core may lose the core to it, and those on other cores would
        wait for their frames meanwhile. No two ranks begin with the same peer.

        Args:
            apart: how many ranks on the next one is on this rank's cores; 0: they share none.
        """
        self.mesh[CROWDED] = apart > 0
        steps = sorted(range(1, self.world_size), key=lambda n: apart > 0 and n % apart == 0)
        self.mesh[-self.world_size : -1] = [(self.rank + n) % self.world_size for n in steps]

    @property
    def peers(self) -> tuple[int, ...]:
        """Ranks of the connected peers, in order."""
        return tuple(self._peers)

    def address(self, rank: int) -> str:
        """Where a peer is, for messages."""
        return self._peers[rank].address

    def routes(self) -> Table:
        """A table of routes on which nothing goes anywhere yet, (world_size, ROUTE_WIDTH)."""
        routes = np.zeros((self.world_size, ROUTE_WIDTH), np.int64)
        routes[:, SEND_BYTES] = routes[:, RECV_BYTES] = NOTHING
        return routes

    def totals(self, table: Table | None = None) -> LinkTotals:
        """Counters since the links were made; subtract two of them for what lies between.

        Args:
            table: a copy of the table of an earlier time; by default what it holds now.
        """
        return totals_of(self.table if table is None else table)

    @property
    def spent_ns(self) -> int:
        """Time in operations since the links were made."""
        return self._words[SPENT_NS]

    def record_spans(self, row_at: int) -> None:
        """From now on exchanges count their time in that row of `tables.spans`; 0: nowhere."""
        self.mesh[SPANS_AT] = row_at

    def record_times(self, at: int) -> None:
        """From now on exchanges count their times there (`tables.histograms`); 0: nowhere."""
        self.mesh[HISTOGRAMS_AT] = at

    def record_exchanges(self, at: int) -> None:
        """From now on they are kept in that ring (`tables.timeline`); 0: nowhere."""
        self.mesh[TIMELINE_AT] = at

    def last_received(self, peer: int) -> int:
        """Number of the newest whole frame of a peer."""
        return (int(self.table[peer, RECV_SEQUENCE]) - 1) & 0xFFFF

    @property
    def sockets(self) -> dict[int, socket.socket]:
        """Every peer's socket, by rank: to be asked, never to be read."""
        return {rank: peer.sock for rank, peer in self._peers.items()}

    def stop_tracing(self) -> None:
        """Record no operations any more, only count."""
        self.take_trace()
        self.mesh[TRACE_ROWS] = 0

    def take_trace(self) -> LinkTrace:
        """Every operation since the last call, handed over."""
        self._keep_records()
        trace, self._trace = self._trace, LinkTrace(self._peers)
        return trace

    def _keep_records(self) -> None:
        """Make room for what compiled code will record."""
        if used := self._words[TRACE_USED]:
            self._trace.add_records(self._records[:used].copy())
            self._words[TRACE_USED] = 0
