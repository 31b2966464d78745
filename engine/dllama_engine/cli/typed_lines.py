"""Lines that a user types; while they are waited for, heartbeats to the workers go on."""

from __future__ import annotations

import os
from collections.abc import Callable

_CHUNK_BYTES = 1 << 16


class TypedLines:
    """Lines of a file descriptor; nothing is read ahead that could not be waited for.

    Args:
        descriptor: standard input's, or None if there is none.
        wait: returns when the descriptor can be read.
    """

    def __init__(self, descriptor: int | None, wait: Callable[[int], None]) -> None:
        self._descriptor, self._wait = descriptor, wait
        self._read = b""

    def next(self) -> str | None:
        """The next line without blanks at its ends, None when the input has ended."""
        while b"\n" not in self._read and self._descriptor is not None:
            self._wait(self._descriptor)
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
            if not chunk:
                self._descriptor = None
            self._read += chunk
        line, newline, self._read = self._read.partition(b"\n")
        return line.decode("utf-8", "surrogateescape").strip() if line or newline else None
