"""Memory for weights: where it lies is the same in every session."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from dllama_engine.system.arena import Arena, padded

HUGE = 2 << 20


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no huge pages")
@pytest.mark.parametrize("size", [HUGE // 2, HUGE + 1, 3 * HUGE - 4096, 5 * HUGE])
def test_an_arena_begins_and_ends_on_huge_pages_of_its_own(size: int) -> None:
    """Else its tail is in small pages wherever the mapping happens to begin unluckily."""
    for _ in range(8):  # mappings begin elsewhere each time
        arena = Arena(size)
        first = arena.zeros((size,), np.uint8)
        start, mapped = first.ctypes.data, arena._bytes
        assert start % HUGE == 0
        assert start + -(-size // HUGE) * HUGE <= mapped.ctypes.data + mapped.nbytes


def test_a_small_one_takes_small_pages() -> None:
    arena = Arena(HUGE // 4)
    assert arena._bytes.nbytes == HUGE // 4
    assert Arena(0).zeros((0, 3), np.float32).shape == (0, 3)


def test_arrays_follow_each_other_on_lines_of_their_own() -> None:
    arena = Arena(padded(100) + padded(64))
    first, second = arena.zeros((100,), np.uint8), arena.zeros((16,), np.float32)
    assert second.ctypes.data - first.ctypes.data == padded(100) == 128
    assert not first.any()
