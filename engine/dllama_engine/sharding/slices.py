"""Which rows and columns of each tensor a rank holds, and their bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dllama_engine.formats.quants import row_bytes
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.sharding.plan import ShardPlan, Span, SyncMode

# How each tensor is cut: (rows, columns), each the name of a RankShard span scaled by a unit, or
# None for all. "root" tensors stay with rank 0; wo and w2 are cut by column in REDUCE mode and by
# row in INVARIANT mode.
_COLUMN_PARALLEL = {
    "block_matmul_q": "heads",
    "block_matmul_k": "kv_heads",
    "block_matmul_v": "kv_heads",
    "block_matmul_w1": "ffn",
    "block_matmul_w3": "ffn",
    "final_matmul_logits": "vocab",
}
_ROW_PARALLEL = {"block_matmul_wo": "heads", "block_matmul_w2": "ffn"}
_ROOT_ONLY = {"embedding"}
_REPLICATED = {
    "block_moe_gate",
    "block_norm_q",
    "block_norm_k",
    "block_norm_0",
    "block_norm_1",
    "final_norm",
}


def tensor_spans(plan: ShardPlan, spec: TensorSpec, rank: int) -> tuple[Span, Span] | None:
    """Rows and columns of `spec` that `rank` holds; None when it holds nothing of it."""
    rows, cols = Span(0, spec.shape[0]), Span(0, spec.shape[1])
    shard = plan.ranks[rank]
    head_dim = plan.config.head_dim
    if spec.name in _ROOT_ONLY:
        return (rows, cols) if rank == 0 else None
    if spec.name in _REPLICATED:
        return rows, cols
    if spec.name in _COLUMN_PARALLEL:
        part = _COLUMN_PARALLEL[spec.name]
        span: Span = getattr(shard, part)
        rows = span.scaled(head_dim) if part in ("heads", "kv_heads") else span
    elif plan.sync_mode is SyncMode.INVARIANT:
        rows = shard.dim_rows
    else:
        span = getattr(shard, _ROW_PARALLEL[spec.name])
        cols = span.scaled(head_dim) if spec.name == "block_matmul_wo" else span
    return (rows, cols) if rows.size and cols.size else None


def slice_tensor(
    raw: npt.NDArray[np.uint8], spec: TensorSpec, plan: ShardPlan, rank: int
) -> npt.NDArray[np.uint8] | None:
    """`rank`'s part of an encoded tensor, contiguous.

    Args:
        raw: the whole tensor as stored, uint8 (rows, row_bytes).
        spec: which tensor.
        plan: the split.
        rank: whose part.
    """
    spans = tensor_spans(plan, spec, rank)
    if spans is None:
        return None
    rows, cols = spans
    first = row_bytes(spec.float_type, cols.start)
    last = row_bytes(spec.float_type, cols.stop)
    return np.ascontiguousarray(raw[rows.start : rows.stop, first:last])


def slice_nbytes(plan: ShardPlan, spec: TensorSpec, rank: int) -> int:
    """Bytes of `slice_tensor`, without the tensor."""
    spans = tensor_spans(plan, spec, rank)
    return 0 if spans is None else spans[0].size * row_bytes(spec.float_type, spans[1].size)
