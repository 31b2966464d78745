"""Every buffer that a rank's forward pass works in: one list, by name.

The transformer allocates from it and the plan sums it, so that what a plan says is what is taken.
"""

from __future__ import annotations

import numpy as np

from dllama_engine.arrays import Buffer
from dllama_engine.formats.activations import activation_buffers
from dllama_engine.sharding.plan import ShardPlan, SyncMode, vector_bytes
from dllama_engine.tables.routes import route_words


def rank_buffers(plan: ShardPlan, rank: int, batch_size: int) -> dict[str, Buffer]:
    """Shape and type of all that `rank` allocates for batches of up to `batch_size` tokens.

    The parts of activations stand under their own names: `input.values`, `input.scales`.
    """
    config, shard, n = plan.config, plan.ranks[rank], batch_size
    head_dim, heads, ffn = config.head_dim, shard.heads.size, shard.ffn.size
    slots = n * (config.n_active_experts if config.is_moe else 1)
    whole = plan.sync_mode is SyncMode.INVARIANT  # wo and w2 read all columns, gathered
    holds_all = heads and ffn
    buffers = {
        "x": _floats(n, config.dim),
        "normed": _floats(n, config.dim),
        "qkv": _floats(n, (heads + 2 * shard.kv_heads.size) * head_dim),
        "mixed": _floats(n, heads * head_dim),
        "gate_up": _floats(slots, 2 * ffn),
        "hidden": _floats(slots, ffn),
        "partial": _floats(n, shard.dim_rows.size),
        "no_part": _floats(0 if holds_all else n, shard.dim_rows.size),
        "logits": _floats(n, shard.vocab.size),
        **_activations(plan, "input", n, config.dim),
        **_activations(plan, "mixed_input", n, config.q_dim if whole else heads * head_dim),
        **_activations(plan, "hidden_input", slots, config.ff_dim if whole else ffn),
    }
    return buffers | _mixture(plan, rank, n) if config.is_moe else buffers


def _mixture(plan: ShardPlan, rank: int, n: int) -> dict[str, Buffer]:
    """What the router and the experts need beside the rest."""
    config, k = plan.config, plan.config.n_active_experts
    return {
        "gate": _floats(n, config.n_experts),
        "results": _floats(n * k, plan.ranks[rank].dim_rows.size),
        "mixture.experts": Buffer((n, k), np.int64),
        "mixture.weights": _floats(n, k),
        "mixture.route": Buffer((route_words(config.n_experts, n * k),), np.int64),
        "addresses": Buffer((config.n_layers, 2, config.n_experts, 2), np.int64),
        **_activations(plan, "taken", n * k, config.dim),
    }


def rank_tables(plan: ShardPlan, rank: int, max_seq_len: int) -> dict[str, Buffer]:
    """What is computed once and then read: rope's cosines and sines, the heads of K/V heads."""
    half = plan.config.head_dim // 2
    return {
        "cos": _floats(max_seq_len, half),
        "sin": _floats(max_seq_len, half),
        "first_head": Buffer((plan.ranks[rank].kv_heads.size + 1,), np.int64),
    }


def wire_buffers(plan: ShardPlan, batch_size: int) -> dict[tuple[int, int], Buffer]:
    """All ranks' parts in the buffer type, by rank and bytes; layers share one for each size."""
    config = plan.config
    slots = config.n_active_experts if config.is_moe else 1
    buffers = {}
    for rank, shard in enumerate(plan.ranks if plan.world_size > 1 else ()):
        if plan.sync_mode is SyncMode.REDUCE:
            sizes = {vector_bytes(plan.buffer_type, config.dim)}
        else:
            sizes = {
                vector_bytes(plan.buffer_type, shard.dim_rows.size),
                vector_bytes(plan.buffer_type, shard.heads.size * config.head_dim),
                slots * vector_bytes(plan.buffer_type, shard.ffn.size),
            }
        for size in sizes:
            buffers[rank, batch_size * size] = Buffer((batch_size * size,), np.uint8)
    return buffers


def buffer_bytes(plan: ShardPlan, rank: int, batch_size: int, max_seq_len: int) -> int:
    """Memory of all of these."""
    parts = (
        rank_buffers(plan, rank, batch_size),
        rank_tables(plan, rank, max_seq_len),
        wire_buffers(plan, batch_size),
    )
    return sum(buffer.nbytes for part in parts for buffer in part.values())


def _floats(*shape: int) -> Buffer:
    return Buffer(shape, np.float32)


def _activations(plan: ShardPlan, name: str, rows: int, n: int) -> dict[str, Buffer]:
    parts = activation_buffers(rows, n, plan.buffer_type, plan.config.weight_type)
    return {f"{name}.{part}": buffer for part, buffer in parts.items()}
