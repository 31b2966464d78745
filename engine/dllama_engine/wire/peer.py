"""One connected socket of a rank: where its two streams of frames stand, and how it can fail."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.errors import WireError, WorkerLost
from dllama_engine.tables.links import FD, GOT, RECV_HEADER, RECV_SEQUENCE, SENT, TO_RECV, TO_SEND
from dllama_engine.wire.frames import HEADER, NAMES, view

_LEFT_UNREAD_BYTES = 1 << 26  # of a dead peer's frames


class Peer:
    """One connected socket; `link` is its row of the table of links, int64 (LINK_WIDTH,)."""

    def __init__(
        self,
        rank: int,
        sock: socket.socket,
        link: npt.NDArray[np.int64],
        address: str | None = None,
    ) -> None:
        self.rank, self.sock, self.link = rank, sock, link
        self.address = address or _address_of(sock)
        link[FD] = sock.fileno()
        _prepare(sock)

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet of the frame being sent."""
        return int(self.link[TO_SEND] - self.link[SENT])

    @property
    def got(self) -> int:
        """Bytes of the frame being received, header included; 0 once it is whole."""
        return int(self.link[GOT]) if self.unread_bytes else 0

    @property
    def unread_bytes(self) -> int:
        """What has not come yet of the frame being received."""
        return int(self.link[TO_RECV] - self.link[GOT])

    @property
    def can_begin(self) -> bool:
        """Whether a new frame may follow what was sent so far."""
        return self.unsent_bytes == 0 or self.link[SENT] == 0

    @property
    def recv_header(self) -> memoryview:
        """The header being received, or received last; it can be written to."""
        return view(self.link[RECV_HEADER : RECV_HEADER + 1].view(np.uint8))

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
        f"{peer} ({peer.unsent_bytes} bytes unsent, {peer.unread_bytes} to receive)"
        for peer in late
    )
    return WorkerLost(
        f"no progress in {op} for {timeout_s:g} s, waiting for {what}. "
        "Is that host overloaded, suspended or unreachable? --timeout sets the deadline.",
        late[0].rank if late else None,
    )


def silent_peers(silent: Sequence[Peer], timeout_s: float) -> WorkerLost:
    """Peers that gave no sign of life before the deadline."""
    return WorkerLost(
        f"no sign of life from {', '.join(map(str, silent))} for {timeout_s:g} s. "
        "Is that host overloaded, suspended or unreachable? --timeout sets the deadline.",
        silent[0].rank,
    )


def strange_frame(peer: Peer, size: int, kind: int, *, at_most: bool) -> WireError:
    """A frame of another kind, number or length than the one that is due."""
    got_size, got_kind, got_sequence = HEADER.unpack(peer.recv_header)
    return WireError(
        f"{peer} broke the protocol: expected {NAMES[kind]} number {peer.link[RECV_SEQUENCE]} of "
        f"{'at most ' if at_most else ''}{size} bytes, found "
        f"{NAMES.get(got_kind, f'unknown kind {got_kind}')} number {got_sequence} of "
        f"{got_size} bytes. Do all nodes run the same version?",
        peer.rank,
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
        name: Any = sock.getpeername()
    except OSError:
        return "a closed socket"
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a local socket"
