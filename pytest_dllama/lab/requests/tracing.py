"""What a cell's nodes did, token by token: one request more, which writes a trace for Perfetto.

It runs when the cell was measured, and is none of its repeats: keeping raw spans disturbs nothing
that is judged.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.backends.base import Backend, is_able
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.events.session import TracePart
from pytest_dllama.lab.cells import CellKey

OPTION = "--trace-dir"


class TraceMissing(RuntimeError):
    """A request that was to be traced and told no whole trace."""


def check_tracing(config: LabConfig, backend: Backend) -> None:
    """Refuse what cannot be traced.

    Raises:
        ConfigError: an engine that tells no spans, or a comparison.
    """
    if config.trace_folder is None:
        return
    if config.comparison is not None:
        raise ConfigError(
            f"{OPTION} with --baseline: pairs are not traced; trace each version in its own run"
        )
    if not is_able(backend, "tells_spans"):
        raise ConfigError(
            f"{OPTION}: the engine {backend.name} tells no spans; leave it out, or use "
            "--engine embedded"
        )


def trace_file(folder: Path, key: CellKey) -> Path:
    """Where a cell's trace belongs."""
    return folder / f"{key.id}.trace.json"


def joined(parts: Sequence[TracePart]) -> str:
    """The text of a trace.

    Raises:
        TraceMissing: a part is missing or damaged.
    """
    wanted = parts[0].parts if parts else 1
    if [part.index for part in parts] != list(range(wanted)):
        raise TraceMissing(f"{len(parts)} of {wanted} parts of the trace came")
    try:
        text = zlib.decompress(
            base64.b64decode("".join(part.data for part in parts), validate=True)
        )
        json.loads(text)
        return text.decode("utf-8")
    except (binascii.Error, ValueError, zlib.error) as error:
        raise TraceMissing(f"the trace is damaged: {error}") from None
