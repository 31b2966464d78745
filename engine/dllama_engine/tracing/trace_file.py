"""Where `--trace` writes: a file that appears whole or not at all, or the event stream."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dllama_engine.errors import OutputError, RequestError
from dllama_engine.system.atomic_file import atomic_writer
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events.session import TracePart
from dllama_engine.telemetry.timeline import RankTrace
from dllama_engine.tracing.perfetto import Kept, kept, trace_file

TO_EVENTS = "-"
_PART_BYTES = 48 << 10  # of base64 in one event: a line that every reader takes


def check_target(target: str) -> None:
    """Refuse before the run what could not be written after it.

    Raises:
        RequestError: the file's folder is not there, or the file is a folder or a device.
    """
    if target == TO_EVENTS:
        return
    path = Path(target)
    if not path.parent.is_dir():
        raise RequestError(f"--trace {target}: there is no folder {path.parent}; make it first")
    if path.exists() and not path.is_file():
        raise RequestError(f"--trace {target}: that is no regular file; name another one")


def write_trace(
    target: str, traces: Sequence[RankTrace], about: Mapping[str, Any], events: EventWriter
) -> str:
    """Write the raw spans of all ranks; returns a line for people.

    Raises:
        OutputError: the file cannot be written; there is none then, or the one that was.
    """
    pieces = trace_file(traces, about)
    if target == TO_EVENTS:
        for part in _parts(pieces):
            events.emit(part)
    else:
        try:
            with atomic_writer(Path(target)) as file:
                file.writelines(pieces)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"--trace {target}: it cannot be written ({reason})") from None
    return _line("the event stream" if target == TO_EVENTS else target, kept(traces))


def _parts(pieces: Iterator[bytes]) -> list[TracePart]:
    squeeze = zlib.compressobj(6)
    data = b"".join([*map(squeeze.compress, pieces), squeeze.flush()])
    text = base64.b64encode(data).decode()
    texts = [text[at : at + _PART_BYTES] for at in range(0, len(text), _PART_BYTES)]
    return [TracePart(index, len(texts), part) for index, part in enumerate(texts)]


def _line(where: str, found: Kept) -> str:
    """What was written, and how exact it is.

    >>> _line("t.json", Kept(4, 1200, 0, 18.25))
    '🧭 Trace: t.json: 4 ranks, 1200 spans, clocks within 18.2 us; open it at ui.perfetto.dev'
    """
    missing = f", the {found.missing} before them overwritten" if found.missing else ""
    clocks = f", clocks within {found.error_us:.1f} us" if found.error_us else ", one clock"
    clocks = clocks if found.ranks > 1 else ""
    nodes = f"{found.ranks} rank{'s' if found.ranks > 1 else ''}"
    spans = f"{nodes}, {found.spans} spans{missing}{clocks}"
    return f"🧭 Trace: {where}: {spans}; open it at ui.perfetto.dev"
