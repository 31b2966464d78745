"""Multiply-adds of a rank's matrix products, a layer and token: the closed form."""

from __future__ import annotations

from dllama_engine.sharding.plan import ShardPlan, SyncMode


def layer_values(plan: ShardPlan, rank: int) -> int:
    """How many weights of one layer a rank multiplies each token with.

    The attention itself is left out: it grows with the context.
    """
    config, shard = plan.config, plan.ranks[rank]
    heads = shard.heads.size * config.head_dim
    kv = 2 * shard.kv_heads.size * config.head_dim
    attention = config.dim * (heads + kv)
    up = 2 * config.dim * shard.ffn.size
    if plan.sync_mode is SyncMode.INVARIANT:  # output rows instead of input columns
        output, down = shard.dim_rows.size * config.q_dim, shard.dim_rows.size * config.ff_dim
    else:
        output, down = config.dim * heads, config.dim * shard.ffn.size
    experts = config.n_active_experts if config.is_moe else 1
    return attention + output + experts * (up + down)
