"""Gives back the pages of a mapped file that have been read, so that they do not count as ours."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def drop_pages(view: npt.NDArray[Any]) -> None:
    """Unmap the pages under a view of a mapped file; reading it again maps them again.

    Without this the root's peak memory would be the whole model's, whatever its own share is.
    """
    mapping = _mapping_of(view)
    if mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    whole = np.frombuffer(mapping, np.uint8)
    start = view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    first = start - start % mmap.PAGESIZE
    mapping.madvise(mmap.MADV_DONTNEED, first, start + view.nbytes - first)


def _mapping_of(view: object) -> mmap.mmap | None:
    while view is not None and not isinstance(view, mmap.mmap):
        view = view.obj if isinstance(view, memoryview) else getattr(view, "base", None)
    return view
