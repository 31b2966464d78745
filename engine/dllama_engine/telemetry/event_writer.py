"""Writes the event stream: one JSON object a line, with a monotonic time; for programs."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from dataclasses import asdict
from typing import BinaryIO

from dllama_engine.errors import OutputError, RequestError
from dllama_engine.telemetry.events.base import Event

_READER_S = 5.0  # for the reader of a named pipe to come


class EventWriter:
    """Writes events to a file or to standard output, each one as it happens."""

    def __init__(self, stream: BinaryIO | None, target: str = "") -> None:
        self._stream, self._target = stream, target

    @classmethod
    def open(cls, target: str | None) -> EventWriter:
        """A writer to a path, to standard output (`-`), or to nothing (None).

        Raises:
            RequestError: the path cannot be written.
        """
        if target is None:
            return cls(None)
        if target == "-":
            return cls(sys.stdout.buffer, target)
        try:
            return cls(_open(target), target)
        except OSError as error:
            raise RequestError(f"--events {target}: {error.strerror or error}") from None

    @property
    def is_on(self) -> bool:
        """Whether anybody reads."""
        return self._stream is not None

    def emit(self, event: Event, *, t_ns: int | None = None) -> None:
        """Write one event; `t_ns` when it happened before now.

        Raises:
            OutputError: it cannot be written; nothing is written from then on.
            BrokenPipeError: nobody reads any more.
        """
        if self._stream is None:
            return
        now_ns = time.perf_counter_ns() if t_ns is None else t_ns
        # The name and the time stand first, as in every line since the first version.
        record = {"event": event.NAME, "t_ns": now_ns} | event.to_json()
        line = json.dumps(record, ensure_ascii=False, default=asdict) + "\n"
        try:
            self._stream.write(_utf8(line))
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._abandon()
            reason = error.strerror or error
            raise OutputError(
                f"--events {self._target}: the events cannot be written ({reason})"
            ) from None

    def _abandon(self) -> None:
        """Drop what cannot be written: closing would try again."""
        stream, self._stream = self._stream, None
        assert stream is not None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if self._target != "-":
            stream.close()

    def close(self) -> None:
        """Close the file, if it is ours."""
        if self._stream is not None and self._target != "-":
            self._stream.close()
        self._stream = None


def _utf8(text: str) -> bytes:
    """Bytes of arguments that an ASCII locale hid are text again; what is no UTF-8 is U+FFFD."""
    data = text.encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "replace").encode()


def _open(target: str) -> BinaryIO:
    """Open for writing from the start; a named pipe's reader is waited for, but not for ever."""
    until_s = time.monotonic() + _READER_S
    while True:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(target, flags, 0o666)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(target).st_mode):
                raise
            if time.monotonic() > until_s:
                message = f"nobody reads this pipe, not after {_READER_S:g} s either"
                raise OSError(errno.ENXIO, message, target) from None
            time.sleep(0.05)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")
