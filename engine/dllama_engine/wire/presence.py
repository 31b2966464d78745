"""Heartbeats (signs of life): how a rank that works for long, or waits, is not taken for dead.

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
from dllama_engine.wire.absence import Absence
from dllama_engine.wire.blame import lost_peer, silent_peers
from dllama_engine.wire.frames import ALIVE_FRAME, HEADER, KINDS, LAST_WORDS
from dllama_engine.wire.peer import Peer

MAX_PERIOD_S = 15.0
_SIGNS_A_TIMEOUT = 4  # so that one that is late is no death
_PAUSE_S = 0.01  # while a part of a header can be read, which polls as readable
_FINISH_S = 1.0  # for the rest of a sign of which the kernel took a part


class Presence:
    """What one rank tells the peers that it watches, and when it last heard of each.

    Args:
        timeout_s: how long a peer may be silent; `math.inf` for ever.
        lost: the error of a peer whose connection failed or, with None, was closed.
        hear_out: the error that a peer's last words tell, whose header was read: their bytes.
    """

    def __init__(
        self,
        timeout_s: float,
        lost: Callable[[Peer, OSError | None], EngineError],
        hear_out: Callable[[Peer, bytes, int], EngineError],
    ) -> None:
        self.timeout_s = timeout_s
        self.period_s = min(MAX_PERIOD_S, timeout_s / _SIGNS_A_TIMEOUT)
        self._lost, self._hear_out = lost, hear_out
        self._peers: dict[int, Peer] = {}  # by file descriptor
        self._heard_s: dict[int, float] = {}  # by rank
        self._begun: dict[int, int] = {}  # by rank: bytes of a header whose rest is to come
        self._told_s = -math.inf
        self._absence = Absence(int(2e9 * self.period_s))

    def add(self, peer: Peer) -> None:
        """Watch one more peer."""
        self._peers[peer.sock.fileno()] = peer
        self._heard_s[peer.rank] = time.monotonic()

    def tell(self) -> None:
        """Send every peer a sign of life, if it is time for one."""
        now_s = time.monotonic()
        if now_s - self._told_s < self.period_s:
            return
        self._told_s = now_s
        for peer in self._peers.values():
            if peer.can_begin:
                _send_sign(peer)

    def attend(self, wait_s: float = 0.0, wake: int | None = None) -> tuple[int, ...]:
        """Tell, and hear what has come; call it again and again while nothing else is sent.

        Args:
            wait_s: how long to wait for something to come, at most.
            wake: a file descriptor that ends the waiting, too, when it can be read.

        Returns:
            Ranks of the peers from which a frame has come; it is still to be received.

        Raises:
            WireError: a peer closed or was silent for the timeout.
            EngineError: what a peer said when it left.
        """
        if self._absence.since_look_ns():
            self._heard_s = dict.fromkeys(self._heard_s, time.monotonic())
        self.tell()
        spoken = tuple(
            peer.rank for peer in self._readable(min(wait_s, self.period_s), wake)
            if self._listen(peer)
        )  # fmt: skip
        self._absence.since_look_ns()  # to wait here is none
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
        """Take in signs of life; whether a frame of another kind has come."""
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
            if kind == KINDS[LAST_WORDS]:
                peer.recv_header[:] = peer.sock.recv(HEADER_BYTES)
                raise self._hear_out(peer, b"", size)
            if head != ALIVE_FRAME:
                return True
            peer.sock.recv(HEADER_BYTES)


def _send_sign(peer: Peer) -> None:
    """Whoever does not read has signs enough to read; whoever is gone will be noticed.

    Raises:
        WorkerLost: a part of the sign was sent and the rest cannot be.
    """
    try:
        sent = peer.sock.send(ALIVE_FRAME)
    except OSError:
        return
    if sent == HEADER_BYTES:
        return
    try:
        peer.sock.settimeout(_FINISH_S)
        peer.sock.sendall(ALIVE_FRAME[sent:])
    except OSError as error:
        raise lost_peer(peer, "a sign of life", error) from error
    finally:
        peer.sock.setblocking(False)
