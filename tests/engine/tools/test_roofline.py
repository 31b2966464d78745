"""The yardstick: it reads every word, on all threads, and leaves threads where they were."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.kernels import streaming
from dllama_engine.tables.streaming import CONTROL_WORDS, DONE, READY
from dllama_engine.tools.bandwidth import MemoryProbe


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 700), st.integers(0, 2**32 - 1), st.integers(0, 1))
def test_every_word_is_read_once_either_way(n: int, seed: int, index: int) -> None:
    words = np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, n, np.int64)
    assert streaming.read_words(words, index) == np.bitwise_xor.reduce(words)


@pytest.mark.parametrize("n_helpers", [0, 1, 3])
def test_helpers_read_their_parts_once_a_pass(n_helpers: int) -> None:
    words = np.random.default_rng(1).integers(0, 2**62, 5000, np.int64)
    parts = np.array_split(words, n_helpers + 1)
    control = np.zeros(CONTROL_WORDS, np.int64)
    found: list[int] = []

    def help_out(part: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        found.append(streaming.read_when_told(part, control, 3))

    helpers = [threading.Thread(target=help_out, args=(part,)) for part in parts[1:]]
    for helper in helpers:
        helper.start()
    for index in range(3):
        streaming.wait_until(control, READY, (index + 1) * n_helpers)
        own = streaming.read_with_helpers(parts[0], control, index, n_helpers)
        assert control[DONE] == (index + 1) * n_helpers
    for helper in helpers:
        helper.join()
    whole = own
    for part in found:
        whole ^= part
    assert whole == np.bitwise_xor.reduce(words)  # of three passes two cancel out


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_a_probe_gives_a_rate_and_its_core_back(n_threads: int) -> None:
    before = os.sched_getaffinity(0)
    rate = MemoryProbe(1 << 22).bandwidth(n_threads, passes=2)
    assert 1e6 < rate < 1e13
    assert os.sched_getaffinity(0) == before
