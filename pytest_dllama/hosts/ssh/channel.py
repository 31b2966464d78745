"""A running command on another machine: bytes in, bytes out; how it started is not its concern."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_dllama.hosts.base import HostError

CHUNK_BYTES = 256 * 1024


class ConnectionLost(HostError):
    """The connection ended, or the host cannot be reached any more."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    code: int
    out: bytes
    err: str


class Channel:
    """A running command: bytes in, bytes out."""

    def __init__(self, channel: Any, where: str) -> None:
        self._channel = channel
        self._where = where

    def send(self, data: bytes) -> None:
        """Write to standard input.

        Raises:
            ConnectionLost: nobody reads it any more.
        """
        try:
            self._channel.sendall(data)
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise ConnectionLost(f"{self._where}: connection lost ({reason})") from error

    def lines(self, timeout_s: float | None = None) -> Iterator[bytes]:
        """Lines of standard output, until it ends for whatever reason or is silent for so long."""
        self._channel.settimeout(timeout_s)
        rest = b""
        while True:
            try:
                data = self._channel.recv(CHUNK_BYTES)
            except (OSError, EOFError):
                return
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            yield from whole

    def communicate(
        self, stdin: bytes | None, timeout_s: float, what: str, lost: str = ""
    ) -> Finished:
        """Send input, read all output, wait for the end."""
        channel = self._channel
        channel.settimeout(timeout_s)
        try:
            with contextlib.suppress(ConnectionLost, OSError):  # it may end without reading all
                if stdin:
                    self.send(stdin)
                if stdin is not None:
                    channel.shutdown_write()
            out = channel.makefile("rb").read()
            err = channel.makefile_stderr("rb").read().decode("utf-8", "replace")
        except (TimeoutError, OSError) as error:
            raise ConnectionLost(
                f"{self._where}: {what}: no answer for {timeout_s:g} s ({lost or error})"
            ) from error
        code = channel.recv_exit_status() if channel.exit_status_ready() or not lost else -1
        if code == -1:
            raise ConnectionLost(lost or f"{self._where}: connection lost during {what}")
        return Finished(code, out, err)

    def close(self) -> None:
        """Let go of it; its standard input ends."""
        with contextlib.suppress(Exception):
            self._channel.close()
