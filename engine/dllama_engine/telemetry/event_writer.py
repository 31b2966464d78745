"""Writes the event stream: one JSON object a line, with a monotonic time; for programs."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from dllama_engine.errors import RequestError
from dllama_engine.telemetry.events import Event


class EventWriter:
    """Writes events to a file or to standard output, each flushed as it happens."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @classmethod
    def open(cls, target: str | None) -> EventWriter:
        """A writer to a path, to standard output (`-`), or to nothing (None)."""
        if target is None:
            return cls(None)
        if target == "-":
            return cls(sys.stdout)
        try:
            return cls(Path(target).open("w", encoding="utf-8", errors="replace"))
        except OSError as error:
            raise RequestError(f"--events {target}: {error.strerror or error}") from None

    @property
    def is_on(self) -> bool:
        """Whether anybody reads."""
        return self._stream is not None

    def emit(self, event: Event, *, t_ns: int | None = None) -> None:
        """Write one event; `t_ns` when it happened before now."""
        if self._stream is None:
            return
        now_ns = time.perf_counter_ns() if t_ns is None else t_ns
        # The name and the time stand first, as in every line since the first version.
        record = {"event": event.NAME, "t_ns": now_ns} | event.to_json()
        self._stream.write(json.dumps(record, ensure_ascii=False, default=asdict) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file, if it is ours."""
        if self._stream is not None and self._stream is not sys.stdout:
            self._stream.close()
        self._stream = None
