"""One rank's weights, filled slice by slice as they come from the file or from the root."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.arena import Arena
from engine.errors import ModelFileError, PlanError
from engine.linear import Linear, packed_bytes
from engine.model_file import TensorSpec, tensor_specs
from engine.sharding import ShardPlan, slice_nbytes, tensor_spans

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

Key = tuple[str, int, int]  # name, layer, expert; -1 where there is none


class RankWeights:
    """Packed matrices and norms of one rank; the embedding stays in the file (root only)."""

    def __init__(self, plan: ShardPlan, rank: int) -> None:
        self.plan, self.rank = plan, rank
        self.linears: dict[Key, Linear] = {}
        self.norms: dict[Key, npt.NDArray[np.float32]] = {}
        self._first_row: dict[int, int] = {}  # spec index -> its first row in the fused matrix
        self._missing: set[int] = set()
        self._allocate()

    def _allocate(self) -> None:
        shapes: dict[Key, tuple[int, int]] = {}
        types = {}
        for spec in _in_row_order(self.plan):
            spans = tensor_spans(self.plan, spec, self.rank)
            if spans is None or spec.name == "embedding":
                continue
            self._missing.add(spec.index)
            if spec.name not in _FUSED:
                continue
            key = (_FUSED[spec.name], spec.layer, spec.expert)
            rows, _ = shapes.get(key, (0, 0))
            self._first_row[spec.index] = rows
            shapes[key] = (rows + spans[0].size, spans[1].size)
            types[key] = spec.float_type
        arena = Arena(sum(packed_bytes(*shape, types[key]) for key, shape in shapes.items()))
        self.linears = {key: Linear(*shape, types[key], arena) for key, shape in shapes.items()}

    def add(self, spec: TensorSpec, raw: npt.NDArray[np.uint8]) -> None:
        """Take this rank's slice of a tensor, uint8 (rows, row_bytes), as `slice_tensor` cuts it.

        Raises:
            ModelFileError: values that are not finite.
            PlanError: a slice that this rank does not hold, or of another size.
        """
        what = f"tensor {spec.label}"
        expected = slice_nbytes(self.plan, spec, self.rank)
        if raw.nbytes != expected or spec.index not in self._missing:
            raise PlanError(
                f"{what}: rank {self.rank} was given {raw.nbytes} bytes, expected {expected}"
            )
        self._missing.discard(spec.index)
        if spec.index in self._first_row:
            key = (_FUSED[spec.name], spec.layer, spec.expert)
            self.linears[key].fill(raw, self._first_row[spec.index], what)
            return
        values = raw.reshape(-1).view(np.float32).copy()
        if not np.isfinite(values).all():
            raise ModelFileError(
                f"{what}: holds a value that is not finite; convert the model again"
            )
        self.norms[spec.name, spec.layer, spec.expert] = values

    def finish(self) -> None:
        """Check that every slice came.

        Raises:
            PlanError: naming the first missing tensor.
        """
        if self._missing:
            spec = tensor_specs(self.plan.config)[min(self._missing)]
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


def _in_row_order(plan: ShardPlan) -> list[TensorSpec]:
    """Specs in the order of rows in the fused matrices: q, k, v; then w1, w3."""
    order = {name: index for index, name in enumerate(_FUSED)}
    return sorted(
        tensor_specs(plan.config),
        key=lambda spec: (spec.layer, spec.expert, order.get(spec.name, 99)),
    )
