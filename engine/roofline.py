"""What the memory of this host delivers, measured, and what a token must read of it.

Decoding reads every weight once a token, so tokens a second <= bytes a second / bytes a token.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

from engine.kernels.streaming import read_words
from engine.weights import RankWeights

BUFFER_BYTES = 1 << 28  # far beyond what a last-level cache keeps for one core


class MemoryProbe:
    """Reads a large buffer with some threads, as fast as loads fetched ahead can go."""

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._words: npt.NDArray[np.int64] = np.ones(buffer_bytes // 8, np.int64)
        read_words(self._words[:64])  # compiled before anything is timed

    def bandwidth(self, n_threads: int) -> float:
        """Bytes a second of one pass over the buffer."""
        parts = np.array_split(self._words, n_threads)
        helpers = [threading.Thread(target=read_words, args=(part,)) for part in parts[1:]]
        start_s = time.perf_counter()
        for helper in helpers:
            helper.start()
        read_words(parts[0])
        for helper in helpers:
            helper.join()
        return self._words.nbytes / (time.perf_counter() - start_s)


def bytes_a_token(weights: RankWeights, kv_bytes: int = 0) -> int:
    """Bytes that one decoded token must read: all matrices and norms, and the cache so far.

    Of a mixture of experts only the active share of the experts' matrices counts.
    """
    config = weights.plan.config
    total = kv_bytes + sum(norm.nbytes for norm in weights.norms.values())
    for (_, _, expert), linear in weights.linears.items():
        share = config.n_active_experts / config.n_experts if expert >= 0 else 1.0
        total += int(linear.nbytes * share)
    return total
