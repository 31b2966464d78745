"""How much memory a rank needs, known before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.formats.model_file import tensor_specs
from dllama_engine.formats.quants import Q_BLOCK, FloatType
from dllama_engine.sharding.plan import ShardPlan, SyncMode, vector_bytes
from dllama_engine.sharding.slices import slice_nbytes

# Python, its libraries and the compiled kernels, resident in each rank's process. 148 to 153 MiB
# on x86-64 with numba 0.68; a test compares what real processes take with the sum.
RUNTIME_BYTES = 160 << 20


def rank_memory(
    plan: ShardPlan, rank: int, *, batch_size: int, max_seq_len: int, kv_type: FloatType
) -> RankMemory:
    """Bytes that rank's process takes while it serves.

    The embedding counts nowhere: the root reads its rows from the file.
    """
    config, shard = plan.config, plan.ranks[rank]
    specs = [spec for spec in tensor_specs(config) if spec.name != "embedding"]
    return RankMemory(
        weight_bytes=sum(slice_nbytes(plan, spec, rank) for spec in specs),
        kv_cache_bytes=kv_cache_bytes(
            config.n_layers, shard.kv_heads.size, max_seq_len, config.head_dim, kv_type
        ),
        buffer_bytes=_buffer_bytes(plan, rank, batch_size, max_seq_len),
        runtime_bytes=RUNTIME_BYTES,
    )


def token_read_bytes(plan: ShardPlan, rank: int, *, n_positions: float, kv_type: FloatType) -> int:
    """Bytes that rank must read to decode one token after `n_positions` others, in closed form.

    Every matrix and norm it holds, as the file has them, and its part of the cache so far. Of a
    mixture of experts only the active ones count; the embedding's one row counts nowhere.
    """
    config, shard = plan.config, plan.ranks[rank]
    active = config.n_active_experts / config.n_experts if config.is_moe else 1.0
    weights = sum(
        slice_nbytes(plan, spec, rank) * (active if spec.expert >= 0 else 1.0)
        for spec in tensor_specs(config)
        if spec.name != "embedding"
    )
    position = kv_cache_bytes(config.n_layers, shard.kv_heads.size, 1, config.head_dim, kv_type)
    return round(weights + n_positions * position)


def _activation_bytes(plan: ShardPlan, n: int) -> int:
    """One vector as `linear.Activations` keeps it."""
    quantized = plan.config.weight_type in (FloatType.Q40, FloatType.Q80)
    if plan.buffer_type is not FloatType.Q80:
        return 4 * n
    return n + 4 * (n // Q_BLOCK) + (0 if quantized else 4 * n)


def _buffer_bytes(plan: ShardPlan, rank: int, batch_size: int, max_seq_len: int) -> int:
    """The transformer's and the collective's buffers and the rope tables."""
    config, shard = plan.config, plan.ranks[rank]
    whole = plan.sync_mode is SyncMode.INVARIANT
    heads, ffn = shard.heads.size * config.head_dim, shard.ffn.size
    slots = config.n_active_experts if config.is_moe else 1
    holds_all = bool(heads and ffn)
    floats = (
        2 * config.dim
        + (heads + 2 * shard.kv_heads.size * config.head_dim)
        + heads
        + 3 * slots * ffn
        + (1 if holds_all else 2) * shard.dim_rows.size
        + shard.vocab.size
    )
    activations = (
        _activation_bytes(plan, config.dim)
        + _activation_bytes(plan, config.q_dim if whole else heads)
        + slots * _activation_bytes(plan, config.ff_dim if whole else ffn)
    )
    if config.is_moe:
        floats += config.n_experts + slots * shard.dim_rows.size
        activations += slots * _activation_bytes(plan, config.dim)
    wire = sum(_wire_bytes(plan, peer) for peer in range(plan.world_size))
    rope = 2 * 4 * max_seq_len * (config.head_dim // 2)
    addresses = 32 * config.n_layers * config.n_experts
    return batch_size * (4 * floats + activations + wire) + rope + addresses


def _wire_bytes(plan: ShardPlan, rank: int) -> int:
    """One token's parts from one rank, as the mesh keeps them; one buffer for each size."""
    shard, config = plan.ranks[rank], plan.config
    if plan.world_size == 1:
        return 0
    if plan.sync_mode is SyncMode.REDUCE:
        return vector_bytes(plan.buffer_type, config.dim)
    slots = config.n_active_experts if config.is_moe else 1
    sizes = {
        vector_bytes(plan.buffer_type, shard.dim_rows.size),
        vector_bytes(plan.buffer_type, shard.heads.size * config.head_dim),
        slots * vector_bytes(plan.buffer_type, shard.ffn.size),
    }
    return sum(sizes)


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


def kv_cache_bytes(
    n_layers: int, n_kv_heads: int, max_seq_len: int, head_dim: int, kv_type: FloatType
) -> int:
    """Memory of such a cache."""
    item = 2 if kv_type is FloatType.F16 else 4
    return 2 * n_layers * n_kv_heads * max_seq_len * head_dim * item
