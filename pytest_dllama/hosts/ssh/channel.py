"""A running command on another machine: bytes in, bytes out; how it started is not its concern."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_dllama.hosts.base import HostError

CHUNK_BYTES = 256 * 1024
BEGIN = "== pytest-dllama begins =="  # what stands before is the login's own: banners, .bashrc
_BEGIN_LINE = BEGIN.encode() + b"\n"
_SAID_CHARS = 200


def announced(command: str) -> str:
    """A command line (of shlex.join) that tells both of its outputs when it begins.

    A login shell prints what its user's files make it print, and some (nologin, forced commands)
    run nothing of ours at all. No newlines and no escapes, for csh and fish have their own; to csh
    an exclamation mark in quotes is its history.
    """
    command = command.replace("!", "'\\!'")
    return f'sh -c \'echo "{BEGIN}"; echo "{BEGIN}" >&2; exec "$@"\' sh {command}'


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
        rest, has_begun = b"", False
        while True:
            try:
                data = self._channel.recv(CHUNK_BYTES)
            except (OSError, EOFError):
                return
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            if not has_begun:
                begun = [n for n, line in enumerate(whole, 1) if line.endswith(BEGIN.encode())]
                has_begun = begun != []
                whole = whole[begun[0] :] if begun else []
            yield from whole

    def communicate(
        self, stdin: bytes | None, timeout_s: float, what: str, lost: str = ""
    ) -> Finished:
        """Send input, read all output, wait for the end.

        Raises:
            HostError: it took longer than the timeout; `ConnectionLost` is one too.
        """
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
        said, begin, own = out.partition(_BEGIN_LINE)
        if not begin:
            raise HostError(f"{self._where}: {_not_run(code, said, err)}")
        return Finished(code, own, err.partition(f"{BEGIN}\n")[2])

    def close(self) -> None:
        """Let go of it; its standard input ends."""
        with contextlib.suppress(Exception):
            self._channel.close()


def _not_run(code: int, out: bytes, err: str) -> str:
    words = " ".join(f"{out.decode('utf-8', 'replace')} {err}".split())[:_SAID_CHARS]
    said = f"it said: {words}" if words else "it said nothing"
    return (
        f"its login shell does not run commands (exit code {code}; {said}); see the shell of that "
        "user (chsh), what its .bashrc or .profile does, and forced commands of authorized_keys"
    )
