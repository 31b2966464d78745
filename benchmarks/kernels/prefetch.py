"""`python -m benchmarks.kernels.prefetch`: which way to fetch weights ahead is the best here.

One token's Q40 x Q80 product of a matrix that no cache holds, one thread, each way compiled anew
and all taken in turns, beside the rate at which memory is read (`dllama_engine.tools.bandwidth`). A
last line times a matrix that the second-level cache holds: what the loop itself can do. Under a
minute; let nothing else run meanwhile. Results do not depend on the way, to the bit.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from numba import njit

from dllama_engine.kernels import reading
from dllama_engine.kernels.cpu import cpu_label, variant
from dllama_engine.kernels.matmul import q40
from dllama_engine.kernels.reading import Reading
from dllama_engine.tables.blocks import BLOCK, LANES, STEPS
from dllama_engine.tools.bandwidth import MemoryProbe

COLUMNS = 2048
ROWS = 1 << 19  # 600 MB: beyond a server's last-level cache too
ROWS_IN_CACHE = 1 << 9  # 590 KB
CHUNKS = 16  # of a pass, as threads take them


def told(way: Reading) -> str:
    """A way in words."""
    if not way.ahead:
        return f"{way.streams} places, not fetched ahead"
    where = " and ".join(f"{n} ahead to level {level}" for n, level in way.ahead)
    return f"{way.streams} places, {where}"


def ways() -> list[Reading]:
    """The present one of this machine's variant, and others."""
    present = reading.of_one_token(variant())
    return [present, *(way for way in OTHERS if way != present)]


OTHERS = (
    Reading(2, ((3072, 1),)),
    Reading(2, ((2048, 1),)),
    Reading(2, ((4096, 1),)),
    Reading(2, ((3072, 1), (1024, 1))),
    Reading(2, ((4096, 2), (1536, 1))),
    Reading(2, ()),
    Reading(4, ((2048, 1),)),
    Reading(4, ((2048, 1), (1024, 1))),
    Reading(4, ((4096, 2), (1024, 1))),
    Reading(4, ()),
    Reading(8, ((1024, 1),)),
)


class Product:
    """A packed matrix of random weights, and one token's activations."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(0)
        groups, blocks = rows // LANES, COLUMNS // BLOCK
        self.rows = rows
        self.weights = rng.integers(0, 256, (groups, blocks, STEPS, BLOCK), np.uint8)
        self.deltas = rng.random((groups, blocks, LANES), np.float32).astype(np.float16)
        self.values = rng.integers(-127, 128, (1, COLUMNS)).astype(np.int8)
        self.scales = rng.random((1, blocks), np.float32)
        self.sums = np.empty((1, blocks), np.int32)
        q40.block_sums(self.values, self.sums)
        self.out = np.zeros((1, rows), np.float32)

    @property
    def nbytes(self) -> int:
        """What a pass reads of the matrix."""
        return self.weights.nbytes + self.deltas.nbytes

    def pass_s(self, kernel: Callable[..., None], n_chunks: int = CHUNKS) -> float:
        """Seconds of a pass."""
        inputs = self.weights, self.deltas.view(np.uint16), self.values, self.scales, self.sums
        part, start_s = self.rows // n_chunks, time.perf_counter()
        for first in range(0, self.rows, part):
            kernel(*inputs, self.out, first, first + part)
        return time.perf_counter() - start_s


def compiled(way: Reading) -> Any:
    """The product of this machine's variant that reads so."""
    with patch.object(reading, "of_one_token", lambda which: way):
        kernel = njit(nogil=True)(q40.make_q40_q80(variant()).py_func)  # not from numba's cache
        Product(CHUNKS * LANES * 4).pass_s(kernel)
    return kernel


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found.

    Attributes:
        memory: the rate at which memory is read, bytes a second.
        cached: the first way's, of a matrix in the second-level cache.
        shares: each way's shares of the memory's rate, a round each.
    """

    memory: float
    cached: float
    shares: dict[Reading, list[float]]


def measure(ways: Sequence[Reading], rounds: int, rows: int = ROWS) -> Measured:
    """Take all ways in turns, each round in another order."""
    kernels = [compiled(way) for way in ways]
    product, probe = Product(rows), MemoryProbe()
    expected, rates, pairs = None, [], list(zip(ways, kernels, strict=True))
    shares: dict[Reading, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        rates.append(probe.bandwidth(1, passes=4))
        for way, kernel in random.sample(pairs, len(pairs)):  # memory is not as fast all the time
            best_s = min(product.pass_s(kernel) for _ in range(2))
            shares[way].append(product.nbytes / best_s / rates[-1])
            expected = product.out.copy() if expected is None else expected
            assert np.array_equal(product.out, expected), f"{told(way)} changes the results"
    small = Product(ROWS_IN_CACHE)
    cached_s = min(small.pass_s(kernels[0], 1) for _ in range(50 * rounds))
    return Measured(median(rates), small.nbytes / cached_s, shares)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line a way."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels.prefetch", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="(default: 9)")
    options = parser.parse_args(argv)
    found = measure(ways(), options.rounds)
    print(f"{cpu_label()}, one thread; memory {found.memory / 1e9:.1f} GB/s\n", flush=True)
    print("| how one token's product reads | share of that |\n|---|---|")
    for way, shares in found.shares.items():
        print(f"| {told(way)} | {median(shares):.2f} [{min(shares):.2f}-{max(shares):.2f}] |")
    print(f"\nThe first, from the second-level cache: {found.cached / 1e9:.1f} GB/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
