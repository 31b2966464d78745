"""The connections under way: pairs of flows in compiled code's table, and the thread that runs."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.errors import RequestError
from dllama_engine.kernels.entries import RELAY
from dllama_engine.relay.network import Network
from dllama_engine.system.scheduling import wake_on_time
from dllama_engine.tables.relay import (
    BELL_FD,
    BROKEN,
    CLOSED,
    FLOW_WIDTH,
    HUB_WORDS,
    IN_FD,
    LATE_SEGMENTS,
    LATENCY_NS,
    LEAD_NS,
    OUT_FD,
    OVER,
    OVERSLEPT_NS,
    PASSED_SEGMENTS,
    RING_AT,
    RING_BYTES,
    SEGMENT_WIDTH,
    SEGMENTS,
    SEGMENTS_AT,
    SPIN_NS,
    STATE,
    TROUBLE,
)

MAX_CONNECTIONS = 256
_SEGMENTS = 4096  # under way in one direction
_SPIN_NS = 60_000
_OVERSLEPT_NS = 20_000  # before anything is learnt
_SOCKET_BYTES = 1 << 17  # of the relay's own buffers: what waits there is no longer held up
_NICE = -15
_STAMPS = 35  # SO_TIMESTAMPNS


@dataclass(frozen=True, slots=True)
class Passed:
    """What went over one direction of a connection."""

    source: int
    target: int
    messages: int  # what arrived at once
    late: int  # of them, written later than allowed after being due


class Connection:
    """Two sockets between which bytes go both ways.

    Args:
        near: of who dialed, node `source`.
        far: of who listens, node `target`.
        is_probe: whether it shares no port with the cluster's.
        latency_ns: in place of the link's; None: as the link has it.
    """

    def __init__(
        self,
        near: socket.socket,
        far: socket.socket,
        source: int,
        target: int,
        *,
        is_probe: bool = False,
        latency_ns: int | None = None,
    ) -> None:
        self.near, self.far = near, far
        self.latency_ns = latency_ns
        self.source, self.target, self.is_probe = source, target, is_probe
        self.rows: tuple[int, int] = (-1, -1)
        self.memory: list[Table] = []  # rings and segments, as long as compiled code uses them

    def prepare(self) -> None:
        """Sockets as the loop wants them."""
        for sock in (self.near, self.far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)

    def close(self, *, abruptly: bool) -> None:
        """End both; abruptly: with a reset, as the other side did."""
        for sock in (self.near, self.far):
            with suppress(OSError):
                if abruptly:
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                sock.close()


class Forwarder:
    """Runs the loop in a thread of its own, and lets connections in and out of its tables.

    Args:
        network: what the links are.
        fail: takes the error that ended the loop.
        tell: takes what went over a direction of a connection that has ended, probes left out.
    """

    def __init__(
        self,
        network: Network,
        fail: Callable[[BaseException], None],
        tell: Callable[[Passed], None] = lambda passed: None,
    ) -> None:
        self.network, self._tell = network, tell
        self.priority = "normal"  # of the loop: realtime, raised or normal
        self._fail = fail
        self._flows: Table = np.zeros((2 * MAX_CONNECTIONS, FLOW_WIDTH), np.int64)
        self._flows[:, IN_FD] = -1
        self._hub: Table = np.zeros(HUB_WORDS + 4 * MAX_CONNECTIONS + 1, np.int64)
        self._new: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._open: dict[int, Connection] = {}  # by either of its rows
        self._must_end = False
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)
        self._bell, self._bell_pull = os.pipe()
        os.set_blocking(self._bell, False)
        self._hub[BELL_FD], self._hub[SPIN_NS] = self._bell, _SPIN_NS
        self._hub[OVERSLEPT_NS] = _OVERSLEPT_NS
        RELAY.address  # noqa: B018 (compiled, if it must be, before anything is timed)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the loop, and with resets what goes through it."""
        self._must_end = True
        os.write(self._bell_pull, b"!")
        self._thread.join()
        for connection in set(self._open.values()):
            connection.close(abruptly=True)
        os.close(self._bell)
        os.close(self._bell_pull)

    def add(self, connection: Connection) -> None:
        """Let the loop take a connection; from any thread."""
        connection.prepare()
        self._new.put(connection)
        os.write(self._bell_pull, b"!")

    @property
    def lead_ns(self) -> int:
        """By how much segments leave before they are due: what the last hop takes."""
        return int(self._hub[LEAD_NS])

    @lead_ns.setter
    def lead_ns(self, value: int) -> None:
        self._hub[LEAD_NS] = value

    def _run(self) -> None:
        self.priority = _be_punctual()
        tables = (
            *(self._flows.ctypes.data, len(self._flows)),
            *(self.network.nodes.ctypes.data, len(self.network.nodes), self._hub.ctypes.data),
        )
        try:
            while not self._must_end:
                status = RELAY(*tables)
                if status == OVER:
                    self._leave(int(self._hub[TROUBLE]))
                self._take_new()
        except BaseException as error:
            self._fail(error)

    def _take_new(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell, 4096)
        while not self._new.empty():
            self._enter(self._new.get())

    def _enter(self, connection: Connection) -> None:
        free = np.flatnonzero(self._flows[:, IN_FD] < 0)
        if len(free) < 2:
            connection.close(abruptly=True)
            return
        connection.rows = (int(free[0]), int(free[1]))
        near, far = connection.near.fileno(), connection.far.fileno()
        ways = (
            (connection.rows[0], near, far, connection.source, connection.target),
            (connection.rows[1], far, near, connection.target, connection.source),
        )
        for row, in_fd, out_fd, source, target in ways:
            flow = self._flows[row]
            flow[:] = 0
            self.network.fill(flow, source, target, is_probe=connection.is_probe)
            if connection.latency_ns is not None:
                flow[LATENCY_NS] = connection.latency_ns
            ring_bytes = self.network.link(source, target).ring_bytes
            ring: Table = np.empty(ring_bytes // 8, np.int64)
            segments: Table = np.zeros((_SEGMENTS, SEGMENT_WIDTH), np.int64)
            connection.memory += [ring, segments]
            flow[RING_AT], flow[RING_BYTES] = ring.ctypes.data, ring_bytes
            flow[SEGMENTS_AT], flow[SEGMENTS] = segments.ctypes.data, _SEGMENTS
            flow[IN_FD], flow[OUT_FD] = in_fd, out_fd
            self._open[row] = connection

    def _leave(self, row: int) -> None:
        """One direction is over: with the other, or by an error, the connection is."""
        connection = self._open[row]
        states = [int(self._flows[row, STATE]) for row in connection.rows]
        is_broken = any(state & BROKEN for state in states)
        if not is_broken and not all(state & CLOSED for state in states):
            return
        ways = ((connection.source, connection.target), (connection.target, connection.source))
        for row, way in zip(connection.rows, ways, strict=True):
            flow = self._flows[row]
            if not connection.is_probe:
                self._tell(Passed(*way, int(flow[PASSED_SEGMENTS]), int(flow[LATE_SEGMENTS])))
            flow[IN_FD] = -1
            del self._open[row]
        connection.close(abruptly=is_broken)


def check_links(network: Network, source: int, target: int) -> None:
    """Both directions exist; raises RequestError."""
    if source == target:
        raise RequestError(f"node {source} dials itself")
    network.link(source, target)
    network.link(target, source)


def _be_punctual() -> str:
    """Timers to the nanosecond, and the right of way where that is allowed; in a word, which."""
    wake_on_time()
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        return "realtime"
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)  # of this thread only, on Linux
        return "raised"
    return "normal"
