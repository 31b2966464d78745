"""One connected socket of a rank: where its two streams of frames stand, and how it can fail."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engine.errors import WireError, WorkerLost
from engine.frames import HEADER, HEADER_BYTES, NAMES, view

if TYPE_CHECKING:
    from engine.frames import Buffer

_LEFT_UNREAD_BYTES = 1 << 26  # of a dead peer's frames


class Peer:
    """One connected socket and where its two streams of frames stand."""

    __slots__ = (
        "address", "fd", "got", "incoming", "outgoing", "rank",
        "recv_header", "recv_sequence", "recvmsg_into", "send_header", "send_sequence",
        "sendmsg", "sock",
    )  # fmt: skip

    def __init__(self, rank: int, sock: socket.socket, address: str | None = None) -> None:
        self.rank, self.sock, self.fd = rank, sock, sock.fileno()
        self.address = address or _address_of(sock)
        self.sendmsg: Callable[[Any], int] = sock.sendmsg
        self.recvmsg_into: Callable[[Any], tuple[int, Any, int, Any]] = sock.recvmsg_into
        self.send_header, self.recv_header = bytearray(HEADER_BYTES), bytearray(HEADER_BYTES)
        self.send_sequence = self.recv_sequence = 0
        self.outgoing: list[memoryview] = []  # what the kernel did not take at once
        self.incoming: Buffer = b""
        self.got = 0  # bytes of the frame being received, header included

        _prepare(sock)

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet of the frame being sent."""
        return sum(part.nbytes for part in self.outgoing)

    def drain(self) -> bytes:
        """All that a dead peer's socket still holds."""
        data = bytearray()
        with suppress(OSError):  # a reset comes after the data
            while len(data) < _LEFT_UNREAD_BYTES and (chunk := self.sock.recv(1 << 16)):
                data += chunk
        return bytes(data)

    def __str__(self) -> str:
        who = "root (rank 0)" if self.rank == 0 else f"worker {self.rank}"
        return f"{who} at {self.address}"


def lost_peer(peer: Peer, op: str, error: OSError | None) -> WorkerLost:
    """A peer whose connection is gone."""
    how = "closed the connection" if error is None else f"is lost ({error.strerror or error})"
    return WorkerLost(
        f"{peer} {how} during {op or 'the session'}; {peer.unsent_bytes} bytes unsent, "
        f"{peer.got} received of its frame. Look at that process's log: it may have been "
        "killed, for instance for want of memory.",
        peer.rank,
    )


def late_peers(late: Sequence[Peer], op: str, timeout_s: float) -> WorkerLost:
    """Peers of which nothing moved before the deadline."""
    what = ", ".join(
        f"{peer} ({peer.unsent_bytes} bytes unsent, "
        f"{HEADER_BYTES + view(peer.incoming).nbytes - peer.got} to receive)"
        for peer in late
    )
    return WorkerLost(
        f"no progress in {op} for {timeout_s:g} s, waiting for {what}. "
        "Is that host overloaded, suspended or unreachable? --timeout sets the deadline.",
        late[0].rank if late else None,
    )


def strange_frame(peer: Peer, size: int, kind: int, *, at_most: bool) -> WireError:
    """A frame of another kind, number or length than the one that is due."""
    got_size, got_kind, got_sequence = HEADER.unpack(peer.recv_header)
    return WireError(
        f"{peer} broke the protocol: expected {NAMES[kind]} number {peer.recv_sequence} of "
        f"{'at most ' if at_most else ''}{size} bytes, found "
        f"{NAMES.get(got_kind, f'unknown kind {got_kind}')} number {got_sequence} of "
        f"{got_size} bytes. Do all nodes run the same version?"
    )


def _prepare(sock: socket.socket) -> None:
    """Non-blocking, no Nagle, and a dead host is noticed while nothing is sent."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):  # not on every platform
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _address_of(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return "a closed socket"
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a local socket"
