"""Preallocated keys and values of a rank's local K/V heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.formats.quants import FloatType
from dllama_engine.system.arena import Arena, padded


class KVCache:
    """Per layer, keys and values (kv_heads, max_seq_len, head_dim), float32 or half-precision bits.

    Written through at once, so that its memory is taken at the start and not in mid-run.
    """

    def __init__(
        self, n_layers: int, n_kv_heads: int, max_seq_len: int, head_dim: int, kv_type: FloatType
    ) -> None:
        dtype = np.uint16 if kv_type is FloatType.F16 else np.float32
        shape = (n_layers, n_kv_heads, max_seq_len, head_dim)
        arena = Arena(2 * padded(int(np.prod(shape)) * np.dtype(dtype).itemsize))
        self.keys: npt.NDArray[Any] = arena.zeros(shape, dtype)
        self.values: npt.NDArray[Any] = arena.zeros(shape, dtype)
        self.keys[:] = self.values[:] = 0
