"""From Q80 blocks as they stand in files to the arrays that the products read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def split_blocks(raw: Any, values: Any, deltas: Any) -> bool:
    """Part the deltas of Q80 blocks from their values.

    Args:
        raw: uint8 (rows, n_blocks * 34), as stored.
        values: int8 (rows, n_blocks, 32), written.
        deltas: half-precision bits uint16 (rows, n_blocks), written.

    Returns:
        Whether every delta is finite.
    """
    n_blocks, m = values.shape[1], values.shape[2]
    finite = True
    for row in range(raw.shape[0]):
        for block in range(n_blocks):
            at = block * (2 + m)
            delta = np.uint16(raw[row, at]) | np.uint16(np.uint16(raw[row, at + 1]) << 8)
            deltas[row, block] = delta
            if (delta & 0x7C00) == 0x7C00:
                finite = False
            for i in range(m):
                values[row, block, i] = raw[row, at + 2 + i]
    return finite
