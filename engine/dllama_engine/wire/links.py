"""Framed messages between the ranks of a cluster, counted to the byte; knows nothing of tensors.

A frame is an eight-byte header and its payload. Every rank sends the same sequence of frames that
its peer expects, so a frame of another kind, number or length is a broken protocol, never data.
"""

from __future__ import annotations

import json
import math
import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from ctypes import memmove, string_at
from typing import TYPE_CHECKING, Any

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.errors import EngineError, WireError
from dllama_engine.kernels.entries import EXCHANGE
from dllama_engine.tables.links import (
    AGAIN,
    BUSY_NS,
    CROWDED,
    DONE,
    ERRNO,
    FACTOR,
    FULL,
    GOT,
    HEADER_BYTES,
    HISTOGRAMS_AT,
    KIND,
    LEFT_NS,
    LINK_WIDTH,
    LOST,
    MESH_WORDS,
    MOVED_NS,
    NOTHING,
    OWN,
    RECEIVED_BYTES,
    RECEIVED_MESSAGES,
    RECORD,
    RECV_AT,
    RECV_BYTES,
    RECV_OFFSET,
    RECV_SEQUENCE,
    ROUTE_WIDTH,
    SEND_AT,
    SEND_BYTES,
    SEND_SEQUENCE,
    SENT,
    SENT_BYTES,
    SENT_MESSAGES,
    SPANS_AT,
    SPENT_NS,
    STRANGE,
    TIMELINE_AT,
    TO_RECV,
    TO_SEND,
    TRACE_AT,
    TRACE_ROWS,
    TRACE_USED,
    TROUBLE,
    UNDER_WAY,
)
from dllama_engine.wire import culprit, last_words
from dllama_engine.wire.culprit import late_peers
from dllama_engine.wire.frames import ALIVE_FRAME, HEADER, KINDS, LAST_WORDS, NAMES, OPS, view
from dllama_engine.wire.peer import Peer
from dllama_engine.wire.presence import Presence
from dllama_engine.wire.trace import LinkTotals, LinkTrace, totals_of

if TYPE_CHECKING:
    from dllama_engine.wire.frames import Buffer

_TRACE_ROWS = 1024  # operations between two looks of Python at the trace
_now_ns = time.perf_counter_ns


class Links:
    """One rank's connected sockets to its peers.

    Compiled code moves the frames (`kernels.run.exchange`), called from here or from the midst of a
    forward pass; the tables that it works on are here, and so is all that can go wrong.

    Args:
        rank: this process.
        world_size: number of ranks, the root included.
        sockets: a connected stream socket for every peer; they belong to the links from now on.
        timeout_s: how long an exchange may make no progress at all; `math.inf` for ever.
        addresses: names of the peers for messages; by default what the sockets say.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        sockets: Mapping[int, socket.socket],
        timeout_s: float = 60.0,
        addresses: Mapping[int, str] | None = None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.timeout_s = timeout_s
        self.table: Table = np.zeros((world_size, LINK_WIDTH), np.int64)
        self.mesh: Table = np.zeros(MESH_WORDS + world_size, np.int64)
        self._words = view(self.mesh)  # the same: a word is read in a third of the time
        self._tables_at = self.table.ctypes.data, self.mesh.ctypes.data
        self._records: Table = np.zeros((_TRACE_ROWS, RECORD + world_size), np.int64)
        self.mesh[OWN] = rank
        self.mesh[TRACE_AT], self.mesh[TRACE_ROWS] = self._records.ctypes.data, _TRACE_ROWS
        self._peers: dict[int, Peer] = {}
        self._op = ""  # what is being received alone, for messages
        self.is_setting_up = False  # exchanges have signs of life beside them
        self.presence = Presence(timeout_s, self._lost, self._hear_out)
        self._trace = LinkTrace(())
        for peer, sock in sorted(sockets.items()):
            self.add(peer, sock, (addresses or {}).get(peer))

    def add(self, rank: int, sock: socket.socket, address: str | None = None) -> None:
        """Connect one more peer; what was traced before is forgotten."""
        peer = self._peers[rank] = Peer(rank, sock, self.table[rank], address)
        self._peers = dict(sorted(self._peers.items()))
        self._trace = LinkTrace(self._peers)
        if 0 in (rank, self.rank):
            self.presence.add(peer)

    @property
    def is_crowded(self) -> bool:
        """Whether ranks share cores, so that who waits should not keep one busy."""
        return bool(self.mesh[CROWDED])

    @is_crowded.setter
    def is_crowded(self, value: bool) -> None:
        self.mesh[CROWDED] = value

    @property
    def peers(self) -> tuple[int, ...]:
        """Ranks of the connected peers, in order."""
        return tuple(self._peers)

    def address(self, rank: int) -> str:
        """Where a peer is, for messages."""
        return self._peers[rank].address

    # -- exchanges ----------------------------------------------------------------------------

    def routes(self) -> Table:
        """A table of routes on which nothing goes anywhere yet, (world_size, ROUTE_WIDTH)."""
        routes = np.zeros((self.world_size, ROUTE_WIDTH), np.int64)
        routes[:, SEND_BYTES] = routes[:, RECV_BYTES] = NOTHING
        return routes

    def exchange(self, op: str, sends: Mapping[int, Buffer], recvs: Mapping[int, Buffer]) -> None:
        """Send one frame to each peer of `sends` and fill each buffer of `recvs`, all at once.

        Raises:
            WorkerLost: a peer closed, failed, or nothing at all moved for `timeout_s`.
            WireError: a peer sent another frame than the expected one.
        """
        routes = self.routes()
        for rank, payload in sends.items():
            routes[rank, SEND_AT], routes[rank, SEND_BYTES] = _place(payload)
        for rank, buffer in recvs.items():
            assert not view(buffer).readonly
            routes[rank, RECV_AT], routes[rank, RECV_BYTES] = _place(buffer)
        self.exchange_routes(op, routes)

    def exchange_routes(self, op: str, routes: Table, routes_at: int = 0) -> None:
        """Send and receive one frame on every link that the routes name, whose buffers stay.

        Cannot deadlock, whatever the sizes: sending and receiving advance side by side.

        Args:
            op: what the frames are.
            routes: int64 (world_size, ROUTE_WIDTH), contiguous.
            routes_at: their address, if the caller has it at hand: to ask for it takes a while.

        Raises:
            WorkerLost: a peer closed, failed, or nothing at all moved for `timeout_s`.
            WireError: a peer sent another frame than the expected one.
        """
        if not routes_at:
            assert routes.flags.c_contiguous
            routes_at = routes.ctypes.data
        table_at, mesh_at = self._tables_at
        tables = table_at, routes_at, mesh_at
        if self.is_setting_up:
            self.presence.tell()
        try:
            while (status := EXCHANGE(*tables, self.world_size, KINDS[op], 1)) != DONE:
                self.settle(status, routes)
        except BaseException:
            self.forget_exchange()
            raise

    def settle(self, status: int, routes: Table) -> None:
        """What an exchange that returned before its end needs of Python; it may be called again.

        Raises:
            WorkerLost: a peer closed, failed, or nothing at all moved for `timeout_s`.
            WireError: a peer sent another frame than the expected one.
        """
        if status == AGAIN:
            if self.is_setting_up:
                self.presence.tell()
            idle_ns = _now_ns() - int(self.mesh[MOVED_NS])
            waits = self.mesh[UNDER_WAY] and not self.mesh[LEFT_NS]
            if waits and idle_ns > self.timeout_s * 1e9:
                raise self._stalled()
        elif status == FULL:
            self._keep_records()
        elif status != STRANGE or not self._passed_over_sign(routes):
            raise self._failed(status, routes)

    def _passed_over_sign(self, routes: Table) -> bool:
        """Take a sign of life out of the frame that was being received: what follows is its."""
        peer = self._peers[int(self.mesh[TROUBLE])]
        if peer.recv_header != ALIVE_FRAME:
            return False
        payload_at, n_read = self._read_at(peer, routes), int(peer.link[GOT]) - HEADER_BYTES
        read = string_at(payload_at, n_read)
        peer.recv_header[:] = read[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
        memmove(payload_at, read[HEADER_BYTES:], max(0, n_read - HEADER_BYTES))
        peer.link[GOT] = n_read
        self.mesh[MOVED_NS] = _now_ns()  # it waits for somebody else, and lives
        return True

    def _read_at(self, peer: Peer, routes: Table) -> int:
        """Address of the payload that is being received."""
        behind = int(routes[peer.rank, RECV_OFFSET] * self.mesh[FACTOR])
        return int(routes[peer.rank, RECV_AT]) + behind

    def forget_exchange(self) -> None:
        """Do not go on with an exchange whose buffers may vanish."""
        self.mesh[[UNDER_WAY, LEFT_NS]] = 0

    def _failed(self, status: int, routes: Table) -> EngineError:
        self._op = NAMES[int(self.mesh[KIND])]
        peer, number = self._peers[int(self.mesh[TROUBLE])], int(self.mesh[ERRNO])
        if status == LOST:
            return self._lost(peer, OSError(number, os.strerror(number)) if number else None)
        at, n_read = self._read_at(peer, routes), int(peer.link[GOT]) - HEADER_BYTES
        read = string_at(at, n_read)
        size = int(peer.link[TO_RECV]) - HEADER_BYTES
        return self._unexpected(peer, read, size, int(self.mesh[KIND]))

    # -- single frames ------------------------------------------------------------------------

    def send(self, op: str, peer: int, payload: Buffer) -> None:
        """Send one frame to one peer."""
        self.exchange(op, {peer: payload}, {})

    def receive(self, op: str, peer: int, buffer: Buffer, timeout_s: float | None = None) -> int:
        """Receive one frame of at most the buffer's size; returns the size of its payload.

        It waits `timeout_s` after the last sign of life, without it for ever. The time before the
        frame's first byte is idleness and is not recorded.
        """
        self._op = op
        source, kind = self._peers[peer], KINDS[op]
        link, header = source.words, source.recv_header
        limit = view(buffer).nbytes
        payload = view(buffer).cast("B") if limit else view(b"")
        while True:
            link[GOT], link[TO_RECV] = 0, HEADER_BYTES
            self._await_frame(source, timeout_s)
            self._fill(source, header, timeout_s)
            if header != ALIVE_FRAME:
                break
            self.presence.tell()
        start_ns = _now_ns()
        size: int
        size, got_kind, sequence = HEADER.unpack(header)
        link[TO_RECV] = HEADER_BYTES + size
        if (got_kind, sequence) != (kind, link[RECV_SEQUENCE]) or size > limit:
            raise self._unexpected(source, b"", limit, kind, at_most=True)
        if size:
            self._fill(source, payload[:size], self.timeout_s)
        duration_ns = _now_ns() - start_ns
        link[RECV_SEQUENCE] = (link[RECV_SEQUENCE] + 1) & 0xFFFF
        link[RECEIVED_BYTES] += size
        link[RECEIVED_MESSAGES] += 1
        link[BUSY_NS] += duration_ns
        self._words[SPENT_NS] += duration_ns
        if self._words[TRACE_ROWS]:
            self._keep_records()
            self._trace.add_peer(peer, duration_ns)
            self._trace.add_op(kind, start_ns, duration_ns, size)
        return size

    def send_json(self, op: str, peer: int, value: object) -> None:
        """Send one frame that holds a JSON value, without compiled code: it may be to come."""
        target, payload = self._peers[peer], json.dumps(value).encode()
        link, start_ns = target.link, _now_ns()
        frame = HEADER.pack(len(payload), KINDS[op], int(link[SEND_SEQUENCE])) + payload
        self._op, link[SENT], link[TO_SEND] = op, 0, len(frame)
        try:
            target.sock.settimeout(None if math.isinf(self.timeout_s) else self.timeout_s)
            target.sock.sendall(frame)
        except TimeoutError:
            link[SENT] = 1  # or more: no other frame may begin
            raise late_peers([target], op, self.timeout_s) from None
        except OSError as error:
            raise self._lost(target, error) from error
        finally:
            target.sock.setblocking(False)
        link[SENT], link[SEND_SEQUENCE] = len(frame), (link[SEND_SEQUENCE] + 1) & 0xFFFF
        link[SENT_BYTES] += len(payload)
        link[SENT_MESSAGES] += 1
        link[BUSY_NS] += _now_ns() - start_ns
        self.mesh[SPENT_NS] += _now_ns() - start_ns

    def receive_json(
        self, op: str, peer: int, *, limit_bytes: int = 1 << 20, timeout_s: float | None = None
    ) -> Any:
        """Receive a frame that holds a JSON value.

        Raises:
            WireError: the payload is not JSON.
        """
        buffer = bytearray(limit_bytes)
        size = self.receive(op, peer, buffer, timeout_s)
        try:
            return json.loads(buffer[:size])
        except (ValueError, RecursionError) as error:
            raise WireError(
                f"{self._peers[peer]} sent {op} that is not JSON: {error}", peer
            ) from error

    def _await_frame(self, peer: Peer, timeout_s: float | None) -> None:
        """Wait for a frame's first byte; whoever waits for us meanwhile hears that we are there."""
        timeout_s = math.inf if timeout_s is None else timeout_s
        until_s = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(peer.sock, select.POLLIN)
        while not poll.poll(1e3 * min(self.presence.period_s, timeout_s)):
            if time.monotonic() > until_s:
                raise late_peers([peer], self._op, timeout_s)
            self.presence.tell()

    def _fill(self, peer: Peer, buffer: memoryview, timeout_s: float | None) -> None:
        """Read the whole buffer from one peer."""
        try:
            peer.read_into(buffer, timeout_s)
        except TimeoutError:
            raise late_peers([peer], self._op, timeout_s or 0.0) from None
        except EOFError:
            raise self._lost(peer, None) from None
        except OSError as error:
            raise self._lost(peer, error) from error

    # -- what was counted ---------------------------------------------------------------------

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

    # -- ends ---------------------------------------------------------------------------------

    def say_last_words(self, error: BaseException) -> None:
        """Tell every peer why this rank leaves, where a frame can still begin; never blocks."""
        payload = last_words.encode(error)
        for peer in self._peers.values():
            if peer.can_begin:
                sequence = int(peer.link[SEND_SEQUENCE])
                header = HEADER.pack(len(payload), KINDS[LAST_WORDS], sequence)
                with suppress(OSError):
                    peer.sock.sendmsg((header, payload))

    def close(self) -> None:
        """Close every socket."""
        for peer in self._peers.values():
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_WR)
            peer.sock.close()

    def _lost(self, peer: Peer, error: OSError | None) -> EngineError:
        return self._blamed(peer, culprit.lost(peer, self._op, error))

    def _hear_out(self, peer: Peer, read: bytes, size: int) -> EngineError:
        return self._blamed(peer, culprit.hear_out(peer, read, size, self.timeout_s))

    def _unexpected(
        self, peer: Peer, read: bytes, size: int, kind: int, *, at_most: bool = False
    ) -> EngineError:
        error = culprit.unexpected(peer, read, size, kind, self.timeout_s, at_most=at_most)
        return self._blamed(peer, error)

    def explain(self, error: EngineError, due: str | None = None) -> EngineError:
        """Of data that cannot be: the peer whose next bytes explain it, or the error itself.

        Args:
            error: what was found in the data.
            due: the operation whose frame may come next; None: no frame is due.
        """
        return culprit.misplaced(tuple(self._peers.values()), error, (due,) if due else ())

    def _blamed(self, peer: Peer, error: EngineError) -> EngineError:
        """The error, but this rank does not take a peer's blame.

        It is another peer's whose bytes are out of place, as this rank then waited for the rest of
        a frame and kept its own peers waiting; else that of the link between the two.
        """
        if not isinstance(error, WireError) or error.rank != self.rank:
            return error
        error.rank = error.witness or peer.rank
        others = [other for other in self._peers.values() if other is not peer and not other.got]
        return culprit.misplaced(others, error, OPS)

    def _stalled(self) -> EngineError:
        op, peers = NAMES[int(self.mesh[KIND])], tuple(self._peers.values())
        error = culprit.stalled(peers, op, self.timeout_s, listens=self.rank == 0)
        if isinstance(error, WireError) and error.rank == self.rank:  # a peer waits for us
            error.rank = error.witness
        return error


def _place(buffer: Buffer) -> tuple[int, int]:
    """Address and bytes of a contiguous buffer."""
    size = view(buffer).nbytes
    if size == 0:
        return 0, 0
    return np.frombuffer(view(buffer).cast("B"), np.uint8).ctypes.data, size
