"""Who holds what: (ModelConfig, world size) -> ShardPlan, and what a step must move over each link.

One declarative table says how every tensor is cut. Knows nothing of sockets, kernels or processes.
Any world size works: sizes that do not divide give the first ranks one unit more, a rank may hold
nothing of a part, and K/V heads are replicated where several ranks' query heads share one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.errors import PlanError
from dllama_engine.formats.config import Arch, ModelConfig
from dllama_engine.formats.quants import Q_BLOCK, FloatType, row_bytes
from dllama_engine.formats.tensors import TensorSpec

CONTROL_BYTES = 8  # pos i32, n_tokens u16, n_logits u16, in front of x in the root's broadcast


class SyncMode(StrEnum):
    """How ranks combine what they computed.

    REDUCE is dllama's: wo and w2 are row-parallel and each rank's whole partial sum goes to every
    other rank. INVARIANT makes wo and w2 column-parallel too and gathers slices instead, so that
    each number is computed by one rank, in one order: logits are bit-identical on any world size.
    """

    REDUCE = "reduce"
    INVARIANT = "invariant"


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of rows, columns or heads."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many it covers."""
        return self.stop - self.start

    def scaled(self, factor: int) -> Span:
        """The same range in units `factor` times as small."""
        return Span(self.start * factor, self.stop * factor)


@dataclass(frozen=True, slots=True)
class RankShard:
    """What one rank computes; empty spans are allowed."""

    heads: Span  # query heads
    kv_heads: Span  # the K/V heads that these query heads read
    ffn: Span  # hidden units, of every expert in a MoE
    vocab: Span  # rows of the classifier
    dim_rows: Span  # output rows of wo and w2 (INVARIANT only; else all of dim)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one step sends over one directed link."""

    messages: int
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class RankMemory:
    """Bytes one rank must hold."""

    weight_bytes: int
    kv_cache_bytes: int
    buffer_bytes: int
    runtime_bytes: int  # the program itself, before it holds any of the above

    @property
    def total_bytes(self) -> int:
        """All of it: what the rank's process will take."""
        return self.weight_bytes + self.kv_cache_bytes + self.buffer_bytes + self.runtime_bytes


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


def split_units(total: int, unit: int, world_size: int) -> list[Span]:
    """Cut `total` into `world_size` spans of whole units, the first ranks one unit larger.

    The last unit may be short when `unit` does not divide `total`.

    >>> split_units(52, 1, 8)[:5]
    [Span(start=0, stop=7), Span(start=7, stop=14), Span(start=14, stop=21), \
Span(start=21, stop=28), Span(start=28, stop=34)]
    """
    n_units = -(-total // unit)
    base, extra = divmod(n_units, world_size)
    spans, start = [], 0
    for rank in range(world_size):
        stop = start + base + (rank < extra)
        spans.append(Span(min(start * unit, total), min(stop * unit, total)))
        start = stop
    return spans


def _split_heads(config: ModelConfig, world_size: int) -> list[Span]:
    """Query heads of each rank: whole K/V groups while there are enough of them."""
    group = config.n_heads // config.n_kv_heads
    align = Q_BLOCK // gcd(Q_BLOCK, config.head_dim)  # heads that fill whole blocks of 32 columns
    unit = align if group % align and align % group else max(group, align)
    if unit * world_size > config.n_heads:  # more ranks than such units: share K/V heads
        unit = align
    return split_units(config.n_heads, unit, world_size)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The whole split, the same on every rank."""

    config: ModelConfig
    world_size: int
    buffer_type: FloatType
    sync_mode: SyncMode
    ranks: tuple[RankShard, ...]

    def to_json(self) -> dict[str, Any]:
        """What rebuilds the plan on a worker."""
        return {
            "config": self.config.to_json(),
            "world_size": self.world_size,
            "buffer_type": int(self.buffer_type),
            "sync_mode": str(self.sync_mode),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> ShardPlan:
        """The inverse of `to_json`; raises PlanError like `make_plan`."""
        return make_plan(
            ModelConfig.from_json(data["config"]),
            int(data["world_size"]),
            buffer_type=FloatType(data["buffer_type"]),
            sync_mode=SyncMode(data["sync_mode"]),
        )


def make_plan(
    config: ModelConfig,
    world_size: int,
    *,
    buffer_type: FloatType = FloatType.Q80,
    sync_mode: SyncMode = SyncMode.REDUCE,
) -> ShardPlan:
    """Split `config` over `world_size` ranks.

    Raises:
        PlanError: more nodes than heads, or buffers that the sizes do not allow.
    """
    if not 1 <= world_size <= config.n_heads:
        raise PlanError(
            f"{world_size} nodes: this model runs on 1 to {config.n_heads} nodes, "
            f"as it has {config.n_heads} attention heads; ask for fewer nodes"
        )
    if buffer_type not in (FloatType.Q80, FloatType.F32):
        raise PlanError(f"buffer float type {buffer_type.label}: must be q80 or f32")
    if buffer_type is FloatType.Q80:
        _check_blocks(config)
    heads = _split_heads(config, world_size)
    group = config.n_heads // config.n_kv_heads
    ffn = split_units(config.ff_dim, Q_BLOCK, world_size)
    vocab = split_units(config.vocab_size, Q_BLOCK, world_size)
    dim_rows = (
        split_units(config.dim, Q_BLOCK, world_size)
        if sync_mode is SyncMode.INVARIANT
        else [Span(0, config.dim)] * world_size
    )
    ranks = tuple(
        RankShard(h, _kv_span(h, group), f, v, d)
        for h, f, v, d in zip(heads, ffn, vocab, dim_rows, strict=True)
    )
    return ShardPlan(config, world_size, buffer_type, sync_mode, ranks)


def _kv_span(heads: Span, group: int) -> Span:
    if heads.size == 0:
        return Span(0, 0)
    return Span(heads.start // group, (heads.stop - 1) // group + 1)


def _check_blocks(config: ModelConfig) -> None:
    for what, size in (
        ("dim", config.dim),
        ("n_heads * head_dim", config.q_dim),
        ("hidden dim", config.ff_dim),
    ):
        if size % Q_BLOCK:
            raise PlanError(
                f"{what} {size} is not a multiple of the Q80 block size {Q_BLOCK}; "
                "use --buffer-float-type f32"
            )


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


def vector_bytes(buffer_type: FloatType, n: int) -> int:
    """b(n) of the closed form: a vector of n values in the buffer type."""
    return row_bytes(buffer_type, n)


def step_traffic(plan: ShardPlan, n_tokens: int, n_logits: int) -> dict[tuple[int, int], Traffic]:
    """Closed form of what one forward of `n_tokens` sends over each directed link (mesh).

    REDUCE: per layer and token, each rank sends b(dim) to every other rank, twice. INVARIANT: its
    slices of the attention output, of x, of the hidden units and of x again. In both, the root
    first sends control and x (f32) to each worker and last receives each worker's logits (f32).
    A MoE layer in INVARIANT mode gathers the hidden units of each active expert.
    """
    traffic = {}
    for src in range(plan.world_size):
        messages, payload = _layer_traffic(plan, src, n_tokens)
        for dst in range(plan.world_size):
            if src != dst:
                traffic[src, dst] = _with_ends(
                    plan, src, dst, messages, payload, n_tokens, n_logits
                )
    return traffic


def _layer_traffic(plan: ShardPlan, src: int, n_tokens: int) -> tuple[int, int]:
    """Messages and bytes that `src` sends to each peer inside the layers."""
    config, kind = plan.config, plan.buffer_type
    if plan.sync_mode is SyncMode.REDUCE:
        sizes = [vector_bytes(kind, config.dim)] * 2
    else:
        shard = plan.ranks[src]
        experts = config.n_active_experts if config.is_moe else 1
        x_slice = vector_bytes(kind, shard.dim_rows.size)
        heads = vector_bytes(kind, shard.heads.size * config.head_dim)
        sizes = [heads, x_slice, experts * vector_bytes(kind, shard.ffn.size), x_slice]
    sent = [size for size in sizes if size]
    return config.n_layers * len(sent), config.n_layers * n_tokens * sum(sent)


def _with_ends(
    plan: ShardPlan, src: int, dst: int, messages: int, payload: int, n_tokens: int, n_logits: int
) -> Traffic:
    if src == 0:
        messages += 1
        payload += CONTROL_BYTES + 4 * plan.config.dim * n_tokens
    logits = 4 * n_logits * plan.ranks[src].vocab.size
    if dst == 0 and logits:
        messages += 1
        payload += logits
    return Traffic(messages, payload)


def expected_tensors(config: ModelConfig) -> frozenset[str]:
    """Names of the table's tensors that a model of this architecture has."""
    names = set(_COLUMN_PARALLEL) | set(_ROW_PARALLEL) | _ROOT_ONLY | _REPLICATED
    if config.arch is Arch.LLAMA:
        names -= {"block_norm_q", "block_norm_k"}
    return frozenset(names if config.is_moe else names - {"block_moe_gate"})
