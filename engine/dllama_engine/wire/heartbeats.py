"""Heartbeats: how a rank that works for long, or waits, is not taken for dead.

The root and each worker send each other an empty frame now and then while no exchange is under
way: during set-up, and while a user thinks. Whoever hears nothing for the timeout gives the other
up; a closed connection is noticed at once. Workers do not signal each other: they wait for each
other in exchanges only, which have a deadline of their own.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable, Sequence

from dllama_engine.errors import EngineError
from dllama_engine.tables.links import HEADER_BYTES
from dllama_engine.wire.failure_attribution import lost_peer, silent_peers
from dllama_engine.wire.frames import ERROR, HEADER, HEARTBEAT_FRAME, KINDS
from dllama_engine.wire.peer import Peer
from dllama_engine.wire.suspension import SuspensionDetector

MAX_PERIOD_S = 15.0
_HEARTBEATS_A_TIMEOUT = 4  # so that one that is late is no death
_PAUSE_S = 0.01  # while a part of a header can be read, which polls as readable
_FINISH_S = 1.0  # for the rest of a heartbeat of which the kernel took a part


class Heartbeats:
    """Sends heartbeats to the peers that it watches, and keeps when it last heard of each.

    Args:
        timeout_s: how long a peer may be silent; `math.inf` for ever.
        lost: the error of a peer whose connection failed or, with None, was closed.
        reported: the error of a peer's error frame, of which the header was read: its bytes.
    """

    def __init__(
        self,
        timeout_s: float,
        lost: Callable[[Peer, OSError | None], EngineError],
        reported: Callable[[Peer, bytes, int], EngineError],
    ) -> None:
        self.timeout_s = timeout_s
        self.period_s = min(MAX_PERIOD_S, timeout_s / _HEARTBEATS_A_TIMEOUT)
        self._lost, self._reported = lost, reported
        self._peers: dict[int, Peer] = {}  # by file descriptor
        self._heard_s: dict[int, float] = {}  # by rank
        self._begun: dict[int, int] = {}  # by rank: bytes of a header whose rest is to come
        self._sent_s = -math.inf
        self._suspension = SuspensionDetector(int(2e9 * self.period_s))

    def add(self, peer: Peer) -> None:
        """Watch one more peer."""
        self._peers[peer.sock.fileno()] = peer
        self._heard_s[peer.rank] = time.monotonic()

    def send_due(self) -> None:
        """Send every peer a heartbeat, if it is time for one."""
        now_s = time.monotonic()
        if now_s - self._sent_s < self.period_s:
            return
        self._sent_s = now_s
        for peer in self._peers.values():
            if peer.can_begin:
                _send_heartbeat(peer)

    def watch(self, wait_s: float = 0.0, wake: int | None = None) -> tuple[int, ...]:
        """Send what is due and hear what has come; to be called while nothing else is sent.

        Args:
            wait_s: how long to wait for something to come, at most.
            wake: a file descriptor that ends the waiting, too, when it can be read.

        Returns:
            Ranks of the peers from which a frame has come; it is still to be received.

        Raises:
            WireError: a peer closed or was silent for the timeout.
            EngineError: what a peer reported when it left.
        """
        if self._suspension.since_check_ns():
            self._heard_s = dict.fromkeys(self._heard_s, time.monotonic())
        self.send_due()
        spoken = tuple(
            peer.rank for peer in self._readable(min(wait_s, self.period_s), wake)
            if self._listen(peer)
        )  # fmt: skip
        self._suspension.since_check_ns()  # to wait here is no suspension
        now_s = time.monotonic()
        silent = [p for p in self._peers.values() if now_s - self._heard_s[p.rank] > self.timeout_s]
        if silent:
            raise silent_peers(silent, self.timeout_s)
        return spoken

    def _readable(self, wait_s: float, wake: int | None) -> Sequence[Peer]:
        poll = select.poll()
        for descriptor in (*self._peers, *(() if wake is None else (wake,))):
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(wait_s * 1e3) if self._peers or wake is not None else []
        return [self._peers[descriptor] for descriptor, _ in ready if descriptor in self._peers]

    def _listen(self, peer: Peer) -> bool:
        """Take in heartbeats; whether a frame of another kind has come."""
        while True:
            try:
                head = peer.sock.recv(HEADER_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                return False
            except OSError as error:
                raise self._lost(peer, error) from error
            if not head:
                raise self._lost(peer, None)
            if len(head) == self._begun.get(peer.rank):  # nothing new: it does not count as life
                time.sleep(_PAUSE_S)
                return False
            self._begun[peer.rank] = len(head) % HEADER_BYTES
            self._heard_s[peer.rank] = time.monotonic()
            if len(head) < HEADER_BYTES:
                return False
            size, kind, _ = HEADER.unpack(head)
            if kind == KINDS[ERROR]:
                peer.recv_header[:] = peer.sock.recv(HEADER_BYTES)
                raise self._reported(peer, b"", size)
            if head != HEARTBEAT_FRAME:
                return True
            peer.sock.recv(HEADER_BYTES)


def _send_heartbeat(peer: Peer) -> None:
    """Whoever does not read has heartbeats enough to read; whoever is gone will be noticed.

    Raises:
        WorkerLost: a part of the heartbeat was sent and the rest cannot be.
    """
    try:
        sent = peer.sock.send(HEARTBEAT_FRAME)
    except OSError:
        return
    if sent == HEADER_BYTES:
        return
    try:
        peer.sock.settimeout(_FINISH_S)
        peer.sock.sendall(HEARTBEAT_FRAME[sent:])
    except OSError as error:
        raise lost_peer(peer, "a heartbeat", error) from error
    finally:
        peer.sock.setblocking(False)
