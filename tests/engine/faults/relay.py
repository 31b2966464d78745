"""A cable that can be pulled: forwards TCP to one address until it is cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_CHUNK_BYTES = 1 << 16


class Relay:
    """Listens on a port of its own and carries each connection to `port` of this host."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._carries = threading.Event()
        self._carries.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def cut(self) -> None:
        """Carry nothing any more, and tell nobody: no end, no reset."""
        self._carries.clear()

    def close(self) -> None:
        for end in (self._server, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self._ends.append(near)
                if not self._carries.is_set():
                    continue
                try:
                    far = socket.create_connection(self._target)
                except OSError:  # nobody listens any more
                    near.close()
                    continue
                self._ends.append(far)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if not self._carries.is_set():
                    return
                sink.sendall(data)
        if self._carries.is_set():  # an end and a reset are both an end at the other side
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
