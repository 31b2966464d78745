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
ERROR = "ERROR"
HEARTBEAT = "HEARTBEAT"
PROBE = "PROBE"
OPS = (SYNC_WITH_ROOT, SYNC_NODE_SLICES, SYNC_LOGITS, LOAD, SESSION, ERROR, HEARTBEAT, PROBE)
KINDS = {op: kind for kind, op in enumerate(OPS, start=1)}
NAMES = {kind: op for op, kind in KINDS.items()}
# A heartbeat: no payload and no number of its own, as it is no part of what ranks agreed on.
HEARTBEAT_FRAME = HEADER.pack(0, KINDS[HEARTBEAT], 0)

# numpy arrays are buffers, but in the types of Python 3.12 only.
view: Callable[[Buffer], memoryview] = memoryview  # type: ignore[assignment]
