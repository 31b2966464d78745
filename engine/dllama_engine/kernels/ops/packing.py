"""Packing by address: what `kernels.matmul.packing` does, for Python to call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.matmul import packing
from dllama_engine.kernels.ops.compiled import entry
from dllama_engine.tables.blocks import BLOCK, LANES, STEPS


@entry(8, returns=True)
def pack_q40(
    source: int, stride: int, n_rows: int, weights: int, deltas: int,
    groups: int, n_blocks: int, first: int,
) -> Any:  # fmt: skip
    """Into arrays (groups, n_blocks, ...); 1 if every delta is finite."""
    packed = carray(pointer(weights), (groups, n_blocks, STEPS, 4 * LANES), np.uint8)
    halves = carray(pointer(deltas), (groups, n_blocks, LANES), np.uint16)
    return packing.pack_q40(source, stride, n_rows, packed, halves, first)


@entry(6, returns=True)
def split_q80(
    source: int, stride: int, n_rows: int, values: int, deltas: int, n_blocks: int
) -> Any:
    """Into arrays (n_rows, n_blocks, ...); 1 if every delta is finite."""
    whole = carray(pointer(values), (n_rows, n_blocks, BLOCK), np.int8)
    halves = carray(pointer(deltas), (n_rows, n_blocks), np.uint16)
    return packing.split_q80(source, stride, whole, halves)
