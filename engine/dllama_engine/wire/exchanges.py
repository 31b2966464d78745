"""Exchanges of frames among ranks, counted to the byte; knows nothing of tensors.

A frame is an eight-byte header and its payload. Every rank sends the same sequence of frames that
its peer expects, so a frame of another kind, number or length is a broken protocol, never data.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from ctypes import memmove, string_at
from typing import TYPE_CHECKING

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.errors import EngineError
from dllama_engine.kernels.entries import EXCHANGE
from dllama_engine.tables.links import (
    AGAIN,
    DONE,
    ERRNO,
    FULL,
    GOT,
    HEADER_BYTES,
    IS_NEXT,
    KIND,
    LEFT_NS,
    LOST,
    MET,
    MOVED_NS,
    RECV_AT,
    RECV_BYTES,
    RECV_INTO,
    SEND_AT,
    SEND_BYTES,
    STRANGE,
    TO_RECV,
    TROUBLE,
    UNDER_WAY,
)
from dllama_engine.wire.counted import CountedLinks
from dllama_engine.wire.failure_attribution import FailureAttribution
from dllama_engine.wire.frames import HEARTBEAT_FRAME, KINDS, NAMES, view
from dllama_engine.wire.heartbeats import Heartbeats
from dllama_engine.wire.peer import Peer
from dllama_engine.wire.suspension import SuspensionDetector

if TYPE_CHECKING:
    from dllama_engine.wire.frames import Buffer

_now_ns = time.perf_counter_ns
LONGEST_LOOK_NS = 1_000_000_000  # from one look at an exchange to the next: a few are due a second


class ExchangingLinks(CountedLinks):
    """One rank's connected sockets to its peers, with frames to and from all of them at once.

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
        super().__init__(rank, world_size)
        self.timeout_s = timeout_s
        self._op = ""  # what is being received alone, for messages
        self._suspension = SuspensionDetector(LONGEST_LOOK_NS)  # between looks at an exchange
        self.is_setting_up = False  # exchanges have heartbeats beside them
        self._attribution = FailureAttribution(rank, timeout_s, lambda: tuple(self._peers.values()))
        self.heartbeats = Heartbeats(timeout_s, self._lost, self._attribution.reported)
        for peer, sock in sorted(sockets.items()):
            self.add(peer, sock, (addresses or {}).get(peer))

    def add(self, rank: int, sock: socket.socket, address: str | None = None) -> None:
        """Connect one more peer; what was traced before is forgotten."""
        super().add(rank, sock, address)
        if 0 in (rank, self.rank):
            self.heartbeats.add(self._peers[rank])

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
            self.heartbeats.send_due()
        try:
            while (status := EXCHANGE(*tables, self.world_size, KINDS[op], 1)) != DONE:
                self.settle(status)
        except BaseException:
            self.forget_exchange()
            raise

    def settle(self, status: int) -> None:
        """What an exchange that returned before its end needs of Python; it may be called again.

        Raises:
            WorkerLost: a peer closed, failed, or nothing at all moved for `timeout_s`.
            WireError: a peer sent another frame than the expected one.
        """
        if status == AGAIN:
            if self.is_setting_up:
                self.heartbeats.send_due()
            waits = self.mesh[UNDER_WAY] and not self.mesh[LEFT_NS]
            if waits and self._idle_ns() > self.timeout_s * 1e9:
                raise self._attribution.stalled(NAMES[int(self.mesh[KIND])])
        elif status == FULL:
            self._keep_records()
        elif status != STRANGE or not self._passed_over_heartbeat():
            raise self._failed(status)

    def _idle_ns(self) -> int:
        """How long nothing has moved while this rank was there to see it."""
        self.mesh[MOVED_NS] += self._suspension.since_check_ns(int(self.mesh[MOVED_NS]))
        return _now_ns() - int(self.mesh[MOVED_NS])

    def _passed_over_heartbeat(self) -> bool:
        """Take a heartbeat out of the frame that was being received: what follows is its."""
        peer = self._peers[int(self.mesh[TROUBLE])]
        if peer.recv_header != HEARTBEAT_FRAME:
            return False
        payload_at, n_read = int(peer.link[RECV_INTO]), int(peer.link[GOT]) - HEADER_BYTES
        read = string_at(payload_at, n_read)
        peer.recv_header[:] = read[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
        memmove(payload_at, read[HEADER_BYTES:], max(0, n_read - HEADER_BYTES))
        peer.link[GOT] = n_read
        self.mesh[MOVED_NS] = _now_ns()  # it waits for somebody else, and lives
        return True

    def forget_exchange(self) -> None:
        """Do not go on with an exchange whose buffers may vanish."""
        self.mesh[[UNDER_WAY, IS_NEXT, LEFT_NS, MET]] = 0

    def _failed(self, status: int) -> EngineError:
        self._op = NAMES[int(self.mesh[KIND])]
        peer, number = self._peers[int(self.mesh[TROUBLE])], int(self.mesh[ERRNO])
        if status == LOST:
            return self._lost(peer, OSError(number, os.strerror(number)) if number else None)
        at, n_read = int(peer.link[RECV_INTO]), int(peer.link[GOT]) - HEADER_BYTES
        read = string_at(at, n_read)
        size = int(peer.link[TO_RECV]) - HEADER_BYTES
        return self._attribution.unexpected(peer, read, size, int(self.mesh[KIND]))

    def explain(self, error: EngineError, due: str | None = None) -> EngineError:
        """The error to raise for data that cannot be: a peer's, if its next bytes explain it.

        Args:
            error: what was found in the data.
            due: the operation whose frame may come next; None: no frame is due.
        """
        return self._attribution.explained(error, due)

    def _lost(self, peer: Peer, error: OSError | None) -> EngineError:
        return self._attribution.lost(peer, self._op, error)


def _place(buffer: Buffer) -> tuple[int, int]:
    """Address and bytes of a contiguous buffer."""
    size = view(buffer).nbytes
    if size == 0:
        return 0, 0
    return np.frombuffer(view(buffer).cast("B"), np.uint8).ctypes.data, size
