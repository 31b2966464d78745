"""The plan as events tell it: who holds what, and what a token moves."""

from __future__ import annotations

from typing import Any

from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.sharding.plan import ShardPlan


def plan_json(plan: ShardPlan, memories: list[Any]) -> dict[str, Any]:
    """Who holds what, and what one decoded token moves over each directed link."""
    ranks = [
        {
            "rank": rank,
            "heads": [shard.heads.start, shard.heads.stop],
            "kv_heads": [shard.kv_heads.start, shard.kv_heads.stop],
            "ffn": [shard.ffn.start, shard.ffn.stop],
            "vocab": [shard.vocab.start, shard.vocab.stop],
            "weight_bytes": memory.weight_bytes,
            "kv_cache_bytes": memory.kv_cache_bytes,
            "buffer_bytes": memory.buffer_bytes,
        }
        for rank, (shard, memory) in enumerate(zip(plan.ranks, memories, strict=True))
    ]
    traffic = step_traffic(plan, 1, 1)
    return {
        "ranks": ranks,
        "decode_payload_bytes": [
            [src, dst, t.payload_bytes, t.messages] for (src, dst), t in traffic.items()
        ],
    }
