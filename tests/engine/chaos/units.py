"""What crosses a link, cut into units: the handshake's parts, then frames, each by its name."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from dllama_engine.wire.connecting.handshake import DialerRole
from dllama_engine.wire.frames import HEADER, NAMES

HELLO, PROOF, TEXT = "hello", "proof", "text"
HELLO_BYTES = {True: 10 + 1 + 32, False: 10 + 32 + 32}  # of who dials, of who listens
_PROOF_BYTES = 32
_LENGTH = struct.Struct("<I")


class Ended(Exception):
    """The stream is over."""


class Units:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, *, dials: bool) -> None:
        self._source, self._dials = source, dials
        self.role: DialerRole | None = None  # known once the hello of who dials has come

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                chunk = self._source.recv(min(size - len(data), 1 << 20))
            except OSError:
                raise Ended from None
            if not chunk:
                raise Ended
            data += chunk
        return data

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each whole unit, until the end."""
        try:
            yield HELLO, self._hello()
            if self._dials:
                yield PROOF, self._read(_PROOF_BYTES)
            yield TEXT, self._text()
            while True:
                header = self._read(HEADER.size)
                size, kind, _ = HEADER.unpack(header)
                yield NAMES[kind], header + self._read(size)
        except Ended:
            return

    def _hello(self) -> bytes:
        hello = self._read(HELLO_BYTES[self._dials])
        if self._dials:
            self.role = DialerRole(hello[10])
        return hello

    def _text(self) -> bytes:
        length = self._read(_LENGTH.size)
        return length + self._read(_LENGTH.unpack(length)[0])
