"""One connected socket of a rank: where its two streams of frames stand."""

from __future__ import annotations

import math
import select
import socket
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.tables.links import FD, GOT, RECV_HEADER, SENT, TO_RECV, TO_SEND
from dllama_engine.wire.frames import view

_LEFT_UNREAD_BYTES = 1 << 26  # of a dead peer's frames


class Peer:
    """One connected socket; `link` is its row of the table of links, int64 (LINK_WIDTH,).

    `words` is the same row: a word is read and written in a third of the time. `recv_header` is the
    header being received, or received last; it can be written to.
    """

    def __init__(
        self,
        rank: int,
        sock: socket.socket,
        link: npt.NDArray[np.int64],
        address: str | None = None,
    ) -> None:
        self.rank, self.sock, self.link = rank, sock, link
        self.words = view(link)
        self.recv_header = view(link[RECV_HEADER : RECV_HEADER + 1].view(np.uint8))
        self._poll = select.poll()  # made once: a worker waits for a frame before each token
        self._poll.register(sock, select.POLLIN)
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

    def is_readable(self, timeout_s: float | None) -> bool:
        """Whether something can be read within that time; None or infinite: wait for ever."""
        timeout_ms = None if timeout_s is None or math.isinf(timeout_s) else 1e3 * timeout_s
        return bool(self._poll.poll(timeout_ms))

    def read_into(self, buffer: memoryview, timeout_s: float | None) -> None:
        """Fill the whole buffer; `timeout_s` may pass without a byte, None: for ever.

        Raises:
            TimeoutError: it has passed.
            EOFError: the peer closed.
            OSError: the connection is gone.
        """
        filled = 0
        while filled < len(buffer):
            try:
                n = self.sock.recv_into(buffer[filled:])
            except BlockingIOError:
                if not self.is_readable(timeout_s):
                    raise TimeoutError from None
                continue
            if n == 0:
                raise EOFError
            filled += n
            self.words[GOT] += n

    def drain(self) -> bytes:
        """All that a dead peer's socket still holds."""
        data = bytearray()
        with suppress(OSError):  # a reset comes after the data
            while len(data) < _LEFT_UNREAD_BYTES and (chunk := self.sock.recv(1 << 16)):
                data += chunk
        return bytes(data)

    def __str__(self) -> str:
        if self.rank == 0:
            return f"root (rank 0) at {self.address}"
        return f"worker {self.rank} at {self.address}"


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
