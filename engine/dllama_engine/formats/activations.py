"""Vectors in the buffer type, as matrices of a weight type are multiplied with: which arrays."""

from __future__ import annotations

import numpy as np

from dllama_engine.arrays import Buffer
from dllama_engine.formats.quants import Q_BLOCK, FloatType


def reads_q80(buffer_type: FloatType, weight_type: FloatType) -> bool:
    """Whether such matrices read Q80 values; others read float32."""
    return buffer_type is FloatType.Q80 and weight_type in (FloatType.Q40, FloatType.Q80)


def activation_buffers(
    rows: int, n: int, buffer_type: FloatType, weight_type: FloatType
) -> dict[str, Buffer]:
    """The arrays of up to `rows` vectors of n values; those without use have no columns.

    `values` and `scales` are the cast's result with Q80 buffers, `sums` the blocks' sums of values
    that Q40's offset of 8 asks for, `floats` what matrices read that are not quantized.
    """
    is_q80, quantized = buffer_type is FloatType.Q80, reads_q80(buffer_type, weight_type)
    blocks = n // Q_BLOCK if is_q80 else 0
    needs_sums = quantized and weight_type is FloatType.Q40
    return {
        "values": Buffer((rows, n if is_q80 else 0), np.int8),
        "scales": Buffer((rows, blocks), np.float32),
        "sums": Buffer((rows, blocks if needs_sums else 0), np.int32),
        "floats": Buffer((rows, 0 if quantized else n), np.float32),
    }
