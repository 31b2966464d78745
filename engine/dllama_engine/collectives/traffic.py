"""Closed forms of what a step moves over each directed link, by the collective that serves it."""

from __future__ import annotations

from dllama_engine.collectives.base import Collective, Flow, Traffic
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.sharding.plan import ShardPlan, SyncMode, reduce_chunks, vector_bytes

CONTROL_BYTES = 8  # pos i32, n_tokens u16, n_logits u16, in front of x in the root's broadcast


def step_traffic(plan: ShardPlan, n_tokens: int, n_logits: int) -> dict[tuple[int, int], Traffic]:
    """Closed form of what one forward of `n_tokens` sends over each directed link.

    REDUCE: per layer and token two all-reduces of b(dim). INVARIANT: all-gathers of the slices of
    the attention output, of x, of the hidden units and of x again. In both, the root first sends
    control and x (f32) to each worker and last receives each worker's logits (f32). A MoE layer in
    INVARIANT mode gathers the hidden units of each active expert. A batch in halves takes twice as
    many messages in its layers, and the same bytes.
    """
    pick = plan.pick_for(n_tokens)
    flows = layer_flows(plan, COLLECTIVES[pick.collective])
    parts = 2 if pick.in_halves else 1  # each with frames of its own
    ranks = range(plan.world_size)
    return {
        (src, dst): _in_layers(plan, flows, (src, dst), n_tokens, parts)
        + _at_ends(plan, src, dst, n_tokens, n_logits)
        for src in ranks
        for dst in ranks
        if src != dst
    }


def layer_flows(plan: ShardPlan, collective: Collective) -> list[Flow]:
    """What each exchange of a layer moves for one token."""
    config, kind, n = plan.config, plan.buffer_type, plan.world_size
    if plan.sync_mode is SyncMode.REDUCE:
        chunks = [
            vector_bytes(kind, chunk.size)
            for chunk in reduce_chunks(config.dim, n, collective.name)
        ]
        return [collective.reduce_flow(vector_bytes(kind, config.dim), chunks)] * 2
    experts = config.n_active_experts if config.is_moe else 1
    rows = [vector_bytes(kind, rank.dim_rows.size) for rank in plan.ranks]
    heads = [vector_bytes(kind, rank.heads.size * config.head_dim) for rank in plan.ranks]
    hidden = [experts * vector_bytes(kind, rank.ffn.size) for rank in plan.ranks]
    return [collective.gather_flow(sizes) for sizes in (heads, rows, hidden, rows)]


def _in_layers(
    plan: ShardPlan, flows: list[Flow], ends: tuple[int, int], n_tokens: int, parts: int
) -> Traffic:
    """Of one link: messages of each part of a batch, bytes of each token."""
    found = sum((flow[ends] for flow in flows if ends in flow), Traffic(0, 0))
    n_layers = plan.config.n_layers
    messages = n_layers * parts * found.messages
    return Traffic(messages, n_layers * n_tokens * found.payload_bytes)


def _at_ends(plan: ShardPlan, src: int, dst: int, n_tokens: int, n_logits: int) -> Traffic:
    """The root's broadcast and the logits."""
    found = Traffic(0, 0)
    if src == 0:
        found += Traffic(1, CONTROL_BYTES + 4 * plan.config.dim * n_tokens)
    logits = 4 * n_logits * plan.ranks[src].vocab.size
    if dst == 0 and logits:
        found += Traffic(1, logits)
    return found
