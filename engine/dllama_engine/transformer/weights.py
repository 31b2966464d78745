"""One rank's weights, filled piece by piece as they come from the file or from the root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Bytes
from dllama_engine.errors import ModelFileError, PlanError
from dllama_engine.formats.model_file import tensor_specs
from dllama_engine.formats.quants import row_bytes
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.program.linear import Linear, packed_bytes
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.sharding.slices import tensor_spans
from dllama_engine.system.arena import Arena
from dllama_engine.tables.blocks import LANES

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Tensors that share an input are one matrix, in this order of rows.
_FUSED = {
    "block_matmul_q": "qkv",
    "block_matmul_k": "qkv",
    "block_matmul_v": "qkv",
    "block_matmul_w1": "w13",
    "block_matmul_w3": "w13",
    "block_matmul_wo": "wo",
    "block_matmul_w2": "w2",
    "block_moe_gate": "gate",
    "final_matmul_logits": "logits",
}

_WORTH_A_THREAD_BYTES = 1 << 18  # packing less takes no longer than waking a thread
_PART_BYTES = 1 << 20

Key = tuple[str, int, int]  # name, layer, expert; -1 where there is none


class RankWeights:
    """Packed matrices and norms of one rank; the embedding stays in the file (root only).

    Args:
        plan: the split.
        rank: whose weights.
        n_threads: how many pack; they hold no lock while they do and sleep in between.
    """

    def __init__(self, plan: ShardPlan, rank: int, n_threads: int = 1) -> None:
        self.plan, self.rank, self.n_threads = plan, rank, n_threads
        self.linears: dict[Key, Linear] = {}
        self.norms: dict[Key, npt.NDArray[np.float32]] = {}
        self._first_row: dict[int, int] = {}  # spec index -> its first row in the fused matrix
        self._rows_missing: dict[int, int] = {}  # spec index -> how many; left out when all came
        self._pool: ThreadPoolExecutor | None = None  # until `finish`
        self._allocate()

    def _allocate(self) -> None:
        shapes: dict[Key, tuple[int, int]] = {}
        types = {}
        for spec in _in_row_order(self.plan):
            spans = tensor_spans(self.plan, spec, self.rank)
            if spans is None or spec.name == "embedding":
                continue
            self._rows_missing[spec.index] = spans[0].size
            if spec.name not in _FUSED:
                continue
            key = (_FUSED[spec.name], spec.layer, spec.expert)
            rows, _ = shapes.get(key, (0, 0))
            self._first_row[spec.index] = rows
            shapes[key] = (rows + spans[0].size, spans[1].size)
            types[key] = spec.float_type
        arena = Arena(sum(packed_bytes(*shape, types[key]) for key, shape in shapes.items()))
        self.linears = {key: Linear(*shape, types[key], arena) for key, shape in shapes.items()}

    def add(self, spec: TensorSpec, raw: Bytes, first: int = 0) -> None:
        """Take rows of this rank's slice of a tensor, as `slice_tensor` cuts it.

        Args:
            spec: which tensor.
            raw: as stored, uint8 (rows, row_bytes).
            first: which row of the slice the first one is; every row comes once.

        Raises:
            ModelFileError: values that are not finite.
            PlanError: rows that this rank does not hold, or of another size.
        """
        with self.adding(spec, raw, first, n_elsewhere=self.n_threads - 1):
            pass

    @contextmanager
    def adding(
        self, spec: TensorSpec, raw: Bytes, first: int = 0, *, n_elsewhere: int = 1
    ) -> Iterator[None]:
        """The same beside what the caller does inside; `raw` must stay as it is until the end.

        At least `n_elsewhere` threads pack meanwhile; with 0 the caller does it, in front.
        """
        self._account(spec, raw, first)
        if spec.index not in self._first_row:
            self._add_norm(spec, raw)
            yield
            return
        linear = self.linears[_FUSED[spec.name], spec.layer, spec.expert]
        row, what = self._first_row[spec.index] + first, f"tensor {spec.label}"
        if raw.nbytes < _WORTH_A_THREAD_BYTES or n_elsewhere == 0:
            linear.fill(raw, row, what)
            yield
            return
        from concurrent.futures import wait  # and logging with it: many ranks never need it

        n_parts = max(self.n_threads, raw.nbytes // _PART_BYTES)
        packing = [
            self._submit(linear, raw[start - row : stop - row], start, what)
            for start, stop in row_parts(row, len(raw), n_parts)
        ]
        try:
            yield
        finally:
            wait(packing)
        for part in packing:
            part.result()

    def _submit(self, linear: Linear, raw: Bytes, row: int, what: str) -> Future[None]:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self.n_threads, "dllama-packing")
        return self._pool.submit(linear.fill, raw, row, what)

    def _account(self, spec: TensorSpec, raw: Bytes, first: int) -> None:
        spans, missing = tensor_spans(self.plan, spec, self.rank), self._rows_missing
        left = missing.get(spec.index, 0) - len(raw)
        if spans is None or left < 0 or not 0 <= first <= spans[0].size - len(raw):
            raise PlanError(
                f"tensor {spec.label}: rank {self.rank} was given rows {first} to "
                f"{first + len(raw) - 1} of its slice, which it does not hold or has already"
            )
        expected = row_bytes(spec.float_type, spans[1].size)
        if raw.shape[1] != expected:
            raise PlanError(
                f"tensor {spec.label}: rank {self.rank} was given rows of {raw.shape[1]} bytes, "
                f"expected {expected}"
            )
        missing[spec.index] = left
        if left == 0:
            del missing[spec.index]

    def _add_norm(self, spec: TensorSpec, raw: Bytes) -> None:
        values = raw.reshape(-1).view(np.float32).copy()
        if not np.isfinite(values).all():
            raise ModelFileError(
                f"tensor {spec.label}: holds a value that is not finite; convert the model again"
            )
        self.norms[spec.name, spec.layer, spec.expert] = values

    def finish(self) -> None:
        """Check that every row came, and let the packing threads go.

        Raises:
            PlanError: naming the first tensor of which something is missing.
        """
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._rows_missing:
            spec = tensor_specs(self.plan.config)[min(self._rows_missing)]
            raise PlanError(f"tensor {spec.label} never arrived")

    def linear(self, name: str, layer: int = -1, expert: int = -1) -> Linear | None:
        """A packed matrix, None where this rank holds no part of it."""
        return self.linears.get((name, layer, expert))

    def norm(self, name: str, layer: int = -1) -> npt.NDArray[np.float32]:
        """A norm's weights, float32 (n,)."""
        return self.norms[name, layer, -1]

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        packed = sum(linear.nbytes for linear in self.linears.values())
        return packed + sum(norm.nbytes for norm in self.norms.values())


def row_parts(first: int, n_rows: int, n_parts: int) -> list[tuple[int, int]]:
    """Cut rows [first, first + n_rows) of a packed matrix so that no two parts share a group.

    >>> row_parts(0, 100, 2), row_parts(4, 8, 2), row_parts(0, 8, 2)
    ([(0, 56), (56, 100)], [(4, 8), (8, 12)], [(0, 8)])
    """
    stop = first + n_rows
    groups = first // LANES, -(-stop // LANES)
    cuts = {groups[0] + -(-(groups[1] - groups[0]) * i // n_parts) for i in range(n_parts + 1)}
    edges = [min(max(cut * LANES, first), stop) for cut in sorted(cuts)]
    return list(pairwise(edges))


def _in_row_order(plan: ShardPlan) -> list[TensorSpec]:
    """Specs in the order of rows in the fused matrices: q, k, v; then w1, w3."""
    order = {name: index for index, name in enumerate(_FUSED)}
    return sorted(
        tensor_specs(plan.config),
        key=lambda spec: (spec.layer, spec.expert, order.get(spec.name, 99)),
    )
