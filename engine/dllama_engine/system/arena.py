"""One stretch of memory for all weights of a rank, in huge pages where the system gives them.

Reading weights at memory speed crosses a 4 KB page every 200 nanoseconds, and a virtual machine
pays twice for each translation. One stretch for all, as a huge page for each matrix would waste
half a page a matrix.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_HUGE = 1 << 21
_LINE = 64


class Arena:
    """Hands out zeroed arrays, one behind the other, each on a cache line of its own.

    Args:
        capacity_bytes: all that will be asked for; `padded` says how much an array takes.
    """

    def __init__(self, capacity_bytes: int) -> None:
        size = -(-capacity_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._bytes: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._next = 0
        if size == 0:
            return
        huge = size >= 4 * _HUGE and hasattr(mmap, "MADV_HUGEPAGE")
        mapping = mmap.mmap(-1, size + (_HUGE if huge else 0), flags=mmap.MAP_PRIVATE)
        if huge:
            mapping.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = np.frombuffer(mapping, np.uint8)
        if huge:  # from a huge page's edge on; what lies before is never touched
            self._next = -self._bytes.ctypes.data % _HUGE

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        """The next array."""
        kind = np.dtype(dtype)
        n_bytes = kind.itemsize * int(np.prod(shape))
        if n_bytes == 0:
            return np.zeros(shape, kind)
        array: npt.NDArray[Any] = (
            self._bytes[self._next : self._next + n_bytes].view(kind).reshape(shape)
        )
        self._next += padded(n_bytes)
        return array


def padded(n_bytes: int) -> int:
    """Bytes that an array of `n_bytes` takes."""
    return -(-n_bytes // _LINE) * _LINE
