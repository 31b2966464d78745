"""One stretch of memory for all weights of a rank, in huge pages where the system gives them.

Reading weights at memory speed crosses a 4 KB page every 200 nanoseconds, and a virtual machine
pays twice for each translation. One stretch for all, as a huge page for each matrix would waste
half a page a matrix.

Small stretches too: which lines of the second-level cache a page can use is where it lies in
physical memory. Small pages lie elsewhere in each process, some of them in each other's way; a huge
page is as large as that cache, and the same in every session.
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
        huge = capacity_bytes >= _HUGE // 2 and hasattr(mmap, "MADV_HUGEPAGE")
        page = _HUGE if huge else mmap.PAGESIZE
        size = -(-capacity_bytes // page) * page  # the last page is whole, wherever it begins
        self._bytes: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._next = 0
        if size == 0:
            return
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
