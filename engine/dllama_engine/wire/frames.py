"""What a frame is: an eight-byte header with the payload's size, its kind and its number."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from dllama_engine.tables.links import HEADER_BYTES

if TYPE_CHECKING:
    import numpy as np

    Buffer: TypeAlias = bytes | bytearray | memoryview | np.ndarray[Any, Any]

HEADER = struct.Struct("<IHH")  # payload bytes, kind, sequence
assert HEADER.size == HEADER_BYTES

SYNC_WITH_ROOT = "SYNC_WITH_ROOT"
SYNC_NODE_SLICES = "SYNC_NODE_SLICES"
SYNC_LOGITS = "SYNC_LOGITS"
LOAD = "LOAD"
SESSION = "SESSION"
LAST_WORDS = "LAST_WORDS"
ALIVE = "ALIVE"
PROBE = "PROBE"
OPS = (SYNC_WITH_ROOT, SYNC_NODE_SLICES, SYNC_LOGITS, LOAD, SESSION, LAST_WORDS, ALIVE, PROBE)
KINDS = {op: kind for kind, op in enumerate(OPS, start=1)}
NAMES = {kind: op for op, kind in KINDS.items()}
# A sign of life: no payload and no number of its own, as it is no part of what ranks agreed on.
ALIVE_FRAME = HEADER.pack(0, KINDS[ALIVE], 0)

# numpy arrays are buffers, but in the types of Python 3.12 only.
view: Callable[[Buffer], memoryview] = memoryview  # type: ignore[assignment]
