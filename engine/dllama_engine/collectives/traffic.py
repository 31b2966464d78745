"""Closed forms of what a step moves over each directed link."""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.sharding.plan import ShardPlan, SyncMode, vector_bytes

CONTROL_BYTES = 8  # pos i32, n_tokens u16, n_logits u16, in front of x in the root's broadcast


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one step sends over one directed link."""

    messages: int
    payload_bytes: int


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
