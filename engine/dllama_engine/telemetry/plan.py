"""The plan as events tell it: who holds what, and what a token moves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.sharding.collective import Pick, halves_from
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.sharding.plan import RankShard, ShardPlan
from dllama_engine.telemetry.events import session

if TYPE_CHECKING:
    from dllama_engine.collectives.choice import Choice, LinkCosts


def plan_event(plan: ShardPlan, memories: Sequence[RankMemory]) -> session.Plan:
    """Who holds what, and what one decoded token moves over each directed link."""
    ranks = zip(range(plan.world_size), plan.ranks, memories, strict=True)
    traffic = step_traffic(plan, 1, 1)
    return session.Plan(
        ranks=tuple(_planned_rank(*rank) for rank in ranks),
        decode_payload_bytes=tuple(
            (src, dst, t.payload_bytes, t.messages) for (src, dst), t in traffic.items()
        ),
    )


def collective_event(plan: ShardPlan, choice: Choice | None) -> session.Collective:
    """How nodes exchange and, where the root chose, on what grounds."""
    costs = None if choice is None else choice.costs
    predicted = {} if choice is None else choice.predicted_s
    layer_s = None if choice is None else choice.layer_s
    return session.Collective(
        asked=str(plan.collective),
        picks=_named(plan.picks),
        round_us=None if costs is None else 1e6 * costs.round_s,
        message_us=None if costs is None else 1e6 * costs.message_s,
        rate_mbps=None if costs is None else rate_mbps(costs),
        sizes=() if choice is None else choice.sizes,
        predicted_us={
            str(name): tuple(1e6 * time_s for time_s in times) for name, times in predicted.items()
        },
        overlap=str(plan.overlap),
        halves_from=halves_from(plan.picks),
        fan_us=None if costs is None or costs.fan is None else 1e6 * costs.fan.round_s,
        layer_us=None if layer_s is None else (1e6 * layer_s[0], 1e6 * layer_s[1]),
    )


def _named(picks: Sequence[Pick]) -> tuple[tuple[int, str], ...]:
    """Which collective serves from how many tokens on, whole or in halves."""
    firsts = (next(alike) for _, alike in groupby(picks, lambda pick: pick.collective))
    return tuple((pick.from_tokens, str(pick.collective)) for pick in firsts)


def rate_mbps(costs: LinkCosts) -> float | None:
    """Mbit/s at which a node's bytes go; None where the probe's took no time that shows."""
    return 8e-6 / costs.byte_s if costs.byte_s else None


def _planned_rank(rank: int, shard: RankShard, memory: RankMemory) -> session.PlannedRank:
    return session.PlannedRank(
        rank=rank,
        heads=(shard.heads.start, shard.heads.stop),
        kv_heads=(shard.kv_heads.start, shard.kv_heads.stop),
        ffn=(shard.ffn.start, shard.ffn.stop),
        vocab=(shard.vocab.start, shard.vocab.stop),
        weight_bytes=memory.weight_bytes,
        kv_cache_bytes=memory.kv_cache_bytes,
        buffer_bytes=memory.buffer_bytes,
    )
