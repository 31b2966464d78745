"""A ProxyCommand of ssh_config: a program whose input and output are the connection.

It gets one end of a socket pair, so that its end is the connection's, at once; what it complains of
is kept for the message that tells so.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
from collections import deque

END_S = 2.0
LAST_LINES = 3
LINE_BYTES = 4096


class Proxy:
    """A running program; `sock` is our end of it.

    Args:
        command: as ssh_config has it, its tokens expanded; a shell runs it.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, command: str) -> None:
        self.sock, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
            )
        except BaseException:
            self.sock.close()
            raise
        finally:
            theirs.close()
        self._said: deque[str] = deque(maxlen=LAST_LINES)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        """Its complaints, read as they come: a full pipe would stop it."""
        assert self.process.stderr is not None
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self.process.stderr.fileno(), LINE_BYTES):
                *whole, rest = (rest + data).split(b"\n")
                self._said += [_text(line) for line in whole if line.strip()]
                rest = rest[-LINE_BYTES:]
        if rest.strip():
            self._said.append(_text(rest))

    def error_tail(self) -> str:
        """Its end and its last lines, for a message; empty while it runs and says nothing."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.sock.fileno() < 0 or select.select([self.sock], [], [], 0)[0]:  # it is over
                self.process.wait(END_S)
                self._reader.join(END_S)
        code = self.process.poll()
        end = "" if code is None else f"its ProxyCommand ended with exit code {code}"
        said = " / ".join(self._said)
        return f"{end or 'its ProxyCommand said'}: {said}" if said else end

    def close(self) -> None:
        """End it, as a closed connection does; one that stays is killed."""
        self.sock.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(END_S)  # its children may hold the pipe
        if self.process.stderr is not None and not self._reader.is_alive():
            self.process.stderr.close()


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()[:300]
