"""Every buffer that a rank's forward pass works in: one list, by name.

The transformer allocates from it and the plan sums it, so that what a plan says is what is taken.
"""

from __future__ import annotations

import numpy as np

from dllama_engine.arrays import Buffer
from dllama_engine.formats.activations import activation_buffers
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import ShardPlan, SyncMode, reduce_chunks, vector_bytes
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
        "mixture.route": Buffer((2, route_words(config.n_experts, n * k)), np.int64),
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


def wire_buffers(plan: ShardPlan, rank: int, batch_size: int) -> dict[str, Buffer]:
    """What exchanges work in; all layers share it, and all collectives that may serve.

    `gathered` holds all ranks' parts. Where a rank sums some columns for all, `outgoing` holds what
    it sends of the others', `incoming` what comes of its own, and `summed` their sum, float32.
    """
    if plan.world_size == 1:
        return {}
    needed = _gathered_slices(plan)
    if plan.sync_mode is SyncMode.REDUCE:
        asked = {collective for _, collective in plan.collective.steps}
        for collective in asked or Collective:
            for name, size in _summing(plan, rank, collective).items():
                needed[name] = max(size, needed.get(name, 0))
    return {
        name: Buffer((batch_size * size,), np.float32 if name == "summed" else np.uint8)
        for name, size in needed.items()
    }


def _gathered_slices(plan: ShardPlan) -> dict[str, int]:
    """Of a token in INVARIANT mode: the largest vector that ranks hold slices of."""
    if plan.sync_mode is SyncMode.REDUCE:
        return {}
    config, kind = plan.config, plan.buffer_type
    slots = config.n_active_experts if config.is_moe else 1
    hidden = slots * vector_bytes(kind, config.ff_dim)
    vectors = (vector_bytes(kind, config.dim), vector_bytes(kind, config.q_dim), hidden)
    return {"gathered": max(vectors)}


def _summing(plan: ShardPlan, rank: int, collective: Collective) -> dict[str, int]:
    """Of a token in REDUCE mode; float32 values of the sum, bytes of the rest."""
    n, dim = plan.world_size, plan.config.dim
    whole = vector_bytes(plan.buffer_type, dim)
    if not collective.scatters:
        return {"gathered": n * whole}
    chunks = reduce_chunks(dim, n, collective)
    if collective is Collective.RING:  # one chunk at a time is under way
        width = max(chunk.size for chunk in chunks)
        chunk = vector_bytes(plan.buffer_type, width)
        return {"gathered": whole, "outgoing": chunk, "incoming": chunk, "summed": width}
    own = vector_bytes(plan.buffer_type, chunks[rank].size)
    return {
        "gathered": whole,
        "outgoing": whole - own,
        "incoming": (n - 1) * own,
        "summed": chunks[rank].size,
    }


def buffer_bytes(plan: ShardPlan, rank: int, batch_size: int, max_seq_len: int) -> int:
    """Memory of all of these."""
    parts = (
        rank_buffers(plan, rank, batch_size),
        rank_tables(plan, rank, max_seq_len),
        wire_buffers(plan, rank, batch_size),
    )
    return sum(buffer.nbytes for part in parts for buffer in part.values())


def _floats(*shape: int) -> Buffer:
    return Buffer(shape, np.float32)


def _activations(plan: ShardPlan, name: str, rows: int, n: int) -> dict[str, Buffer]:
    parts = activation_buffers(rows, n, plan.buffer_type, plan.config.weight_type)
    return {f"{name}.{part}": buffer for part, buffer in parts.items()}
