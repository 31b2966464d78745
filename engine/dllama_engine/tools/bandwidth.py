"""What the memory of this host delivers, measured.

Decoding reads every weight once a token, so tokens a second <= bytes a second / bytes a token.

`python -m dllama_engine.tools.bandwidth CACHE_BYTES THREADS [THREADS ...]` prints the bytes a
second for each number of threads, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.kernels import entries
from dllama_engine.kernels.image import mapped
from dllama_engine.system import process_memory
from dllama_engine.system.scheduling import kept_on
from dllama_engine.tables.streaming import CONTROL_WORDS, READY

# Far beyond any last-level cache: of 256 MB a server's, of 480 MB, kept enough to seem 5 % faster.
BUFFER_BYTES = 1 << 30
SMALLEST_BYTES, LARGEST_BYTES = 1 << 26, 1 << 29  # of a probe that must not take long
PASSES = 10
_LINE_WORDS = 8


class MemoryProbe:
    """Reads a large buffer with some threads, as fast as loads fetched ahead can go.

    Args:
        buffer_bytes: its size; a quarter of what is free where that is less.
    """

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        buffer_bytes = min(buffer_bytes, process_memory.available_bytes() // 4)
        mapped.use(lambda line: None)  # without an image numba compiles what is called here
        self._words: npt.NDArray[np.int64] = np.ones(buffer_bytes // 8, np.int64)
        self._read(1, self._words[:1024], 1)  # compiled before anything is timed
        self._read(2, self._words[:1024], 1)

    def bandwidth(self, n_threads: int, passes: int = PASSES) -> float:
        """Bytes a second over the buffer, the best of some passes, two ways of reading in turns.

        The threads run and stand on cores of their own, as far as there are enough, before a
        pass is timed: what is measured is memory, not how soon a thread is woken.
        """
        return self._words.nbytes / min(self.seconds(n_threads, passes))

    def seconds(self, n_threads: int, passes: int) -> list[float]:
        """What each of some passes over the whole buffer took, likewise."""
        return self._read(n_threads, self._words, passes)

    def _read(self, n_threads: int, words: npt.NDArray[np.int64], passes: int) -> list[float]:
        """Seconds of each pass."""
        parts, n_helpers = np.array_split(words, n_threads), n_threads - 1
        control = np.zeros(CONTROL_WORDS + _LINE_WORDS, np.int64)
        control = control[-(control.ctypes.data // 8) % _LINE_WORDS :]
        cpus = _cpus(n_threads)
        helpers = [
            threading.Thread(target=_help, args=(part, control, passes, cpu), daemon=True)
            for part, cpu in zip(parts[1:], cpus[1:], strict=True)
        ]
        for helper in helpers:
            helper.start()
        times_s = []
        with _held(cpus[0]):
            for index in range(passes):
                entries.WAIT_UNTIL(control.ctypes.data, READY, (index + 1) * n_helpers)
                own = parts[0].ctypes.data, len(parts[0]), control.ctypes.data
                start_s = time.perf_counter()
                entries.READ_WITH_HELPERS(*own, index, n_helpers)
                times_s.append(time.perf_counter() - start_s)
        for helper in helpers:
            helper.join()
        return times_s


def _help(
    words: npt.NDArray[np.int64], control: npt.NDArray[np.int64], passes: int, cpu: int | None
) -> None:
    with _held(cpu):
        entries.READ_WHEN_TOLD(words.ctypes.data, len(words), control.ctypes.data, passes)


def _held(cpu: int | None) -> AbstractContextManager[None]:
    return nullcontext() if cpu is None else kept_on([cpu])


def _cpus(n_threads: int) -> list[int | None]:
    """A core for each thread; none where there are fewer, or where the system cannot pin."""
    if not hasattr(os, "sched_getaffinity"):
        return [None] * n_threads
    found = sorted(os.sched_getaffinity(0))
    return [*found[:n_threads]] if len(found) >= n_threads else [None] * n_threads


def measure(cache_bytes: int, thread_counts: Sequence[int]) -> dict[str, Any]:
    """Bytes a second for each number of threads, in well under a second on a quiet machine.

    The buffer is beyond a cache of `cache_bytes`, and small enough for a small board. `cpu_share`
    is the part of the time in which the threads ran: below one, other programs took their cores.
    """
    probe = MemoryProbe(min(max(4 * cache_bytes, SMALLEST_BYTES), LARGEST_BYTES))
    rates, shares = {}, []
    for n_threads in thread_counts:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        rates[n_threads] = probe.bandwidth(n_threads)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        shares.append(cpu_s / (wall_s * n_threads))
    return {"bytes_per_s": rates, "cpu_share": min(shares, default=1.0)}


if __name__ == "__main__":
    _cache_bytes, *_thread_counts = map(int, sys.argv[1:])
    print(json.dumps(measure(_cache_bytes, _thread_counts)))
