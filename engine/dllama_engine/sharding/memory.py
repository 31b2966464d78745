"""How much memory a rank needs, known before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.formats.model_file import tensor_specs
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.buffers import buffer_bytes
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.sharding.slices import slice_nbytes

# Python, numpy and the image of compiled kernels, resident in each rank's process, on x86-64; a
# test compares what real processes take with the sum. A rank that has to compile for itself, as
# there can be no image, takes about 110 MiB more.
ROOT_RUNTIME_BYTES = 52 << 20
WORKER_RUNTIME_BYTES = 37 << 20


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
        buffer_bytes=buffer_bytes(plan, rank, batch_size, max_seq_len),
        runtime_bytes=WORKER_RUNTIME_BYTES if rank else ROOT_RUNTIME_BYTES,
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
