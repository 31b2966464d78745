"""Matmul throughput of this rank, measured with a matrix of the model's width and type."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np

from dllama_engine.formats.quants import FloatType, row_bytes
from dllama_engine.program.linear import Activations, Linear
from dllama_engine.program.program import Program
from dllama_engine.program.threads import ThreadTeam

_MOST_BYTES = 4 << 20  # of the matrix: not in the caches of a core, and read in milliseconds
_ROWS = 32  # at least
_WARM_UP, _TIMES = 1, 3


class SampleProduct:
    """A product of the model's kind, with a matrix of no content.

    Args:
        cols: of the matrix.
        n_values: it has no more weights than this, if that are some rows.
        weight_type: of the matrix.
        buffer_type: of the vectors.
        batch_size: largest number of vectors that are multiplied at once.
    """

    def __init__(
        self,
        cols: int,
        n_values: int,
        weight_type: FloatType,
        buffer_type: FloatType,
        batch_size: int,
    ) -> None:
        most = min(_MOST_BYTES // row_bytes(weight_type, cols), n_values // cols)
        self._weight = Linear(max(_ROWS, most // _ROWS * _ROWS), cols, weight_type)
        for array in self._weight.packed:
            array.fill(1)
        self.n_values = self._weight.rows * cols
        self._inputs = Activations.zeros(batch_size, cols, buffer_type, weight_type)
        self._out = np.zeros((batch_size, self._weight.rows), np.float32)

    def multiply(self, program: Program) -> None:
        """One more operation of the program, whose table may not outlive this."""
        program.matmul(self._weight, self._inputs, self._out)


def value_s(
    cols: int,
    n_values: int,
    weight_type: FloatType,
    buffer_type: FloatType,
    n_threads: int,
    batches: Sequence[int],
) -> list[float]:
    """Seconds that one weight takes with a batch of each of the sizes, all its rows together.

    Args:
        cols: of the matrix.
        n_values: the product is of no more weights than this, if that are some rows.
        weight_type: of the matrix.
        buffer_type: of the vectors.
        n_threads: that share the work.
        batches: how many vectors are multiplied at once.
    """
    size = max(batches)
    product = SampleProduct(cols, n_values, weight_type, buffer_type, size)
    program = Program(1e-5, size, n_threads)
    product.multiply(program)
    team = ThreadTeam(n_threads)
    team.install(program.table())
    try:
        return [_typical_s(team, n) / product.n_values for n in batches]
    finally:
        team.close()


def _typical_s(team: ThreadTeam, n_tokens: int) -> float:
    durations_s = []
    for _ in range(_WARM_UP + _TIMES):
        start_s = time.perf_counter()
        team.run(0, 1, n_tokens)
        durations_s.append(time.perf_counter() - start_s)
    return median(durations_s[_WARM_UP:])
