"""Which collective is best on links of a known latency and rate.

The model is alpha-beta with a cost a message (LogGP without its gap): a round takes the latency,
each message of a rank beyond the first its own cost, and each byte that a rank sends or receives
its time on the wire. Rounds wait for each other; what ranks do in one round goes on side by side,
as far as they have cores: of ranks that share some, a round in which one sends to all, or all to
one, takes much less than one in which everybody sends as much. So such rounds have their own costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dllama_engine.collectives.base import Round
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.sharding.collective import Collective as Name
from dllama_engine.sharding.collective import Pick
from dllama_engine.sharding.plan import ShardPlan, SyncMode, reduce_chunks, vector_bytes

# Another one than the mesh must promise this share of its time; one that casts sums a second time
# this share of the best that does not: a probe of some milliseconds is not exact.
BETTER, WORTH_A_CAST = 0.9, 0.75


@dataclass(frozen=True, slots=True)
class FanCosts:
    """What a round costs in which all others send to one rank, or it to them, in seconds.

    Attributes:
        round_s: with empty frames.
        byte_s: every byte that the one rank sends or receives.
    """

    round_s: float
    byte_s: float


@dataclass(frozen=True, slots=True)
class LinkCosts:
    """What a rank's links cost, in seconds.

    Attributes:
        round_s: a round in which every rank sends one empty frame and receives one.
        message_s: every further frame of a rank in the same round.
        byte_s: every byte that a rank sends or receives.
        fan: rounds in which all others send to one rank, or it to them; None: what the other costs
            make of it.
    """

    round_s: float
    message_s: float
    byte_s: float
    fan: FanCosts | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What was picked and what the model said.

    Attributes:
        costs: as probed.
        picks: which collective serves which batches.
        sizes: batches, in tokens, that were looked at.
        predicted_s: of each candidate, one exchange at each of the sizes.
        layer_s: of the largest batch, computed and exchanged: whole, and in halves of which one is
            sent while the other is computed; None where that was not asked for.
    """

    costs: LinkCosts
    picks: tuple[Pick, ...]
    sizes: tuple[int, ...]
    predicted_s: Mapping[Name, tuple[float, ...]]
    layer_s: tuple[float, float] | None = None


def predicted_s(costs: LinkCosts, plan: ShardPlan, name: Name, n_tokens: int) -> float:
    """Time of one exchange of x's size for that many tokens, by the model."""
    return sum(rounds_s(costs, plan, name, n_tokens))


def rounds_s(costs: LinkCosts, plan: ShardPlan, name: Name, n_tokens: int) -> list[float]:
    """The same of each of its rounds."""
    collective, n, dim = COLLECTIVES[name], plan.world_size, plan.config.dim
    if plan.sync_mode is SyncMode.INVARIANT:
        sizes = [vector_bytes(plan.buffer_type, rank.dim_rows.size) for rank in plan.ranks]
        return _rounds_s(costs, collective.gather_rounds(n), sizes, n_tokens)
    if not collective.scatter_rounds(n):
        whole = [vector_bytes(plan.buffer_type, dim)] * n
        return _rounds_s(costs, collective.gather_rounds(n), whole, n_tokens)
    chunks = [vector_bytes(plan.buffer_type, c.size) for c in reduce_chunks(dim, n, name)]
    rounds = [*collective.scatter_rounds(n), *collective.gather_rounds(n)]
    return _rounds_s(costs, rounds, chunks, n_tokens)


def _rounds_s(
    costs: LinkCosts, rounds: Sequence[Round], sizes: Sequence[int], n_tokens: int
) -> list[float]:
    found, n = [], len(sizes)
    for moves in rounds:
        messages, n_bytes = [[0] * n, [0] * n], [[0] * n, [0] * n]  # sent, received; by rank
        for move in moves:
            size = sum(sizes[(move.first + i) % n] for i in range(move.count))
            for way, rank in enumerate((move.src, move.dst)) if size else ():
                messages[way][rank] += 1
                n_bytes[way][rank] += size
        if most := max(map(max, messages)):
            empty_s, byte_s = costs.round_s + (most - 1) * costs.message_s, costs.byte_s
            if costs.fan is not None and _is_fan(moves):
                empty_s, byte_s = costs.fan.round_s, costs.fan.byte_s
            found.append(empty_s + byte_s * n_tokens * max(map(max, n_bytes)))
    return found


def _is_fan(moves: Round) -> bool:
    """Whether all send to one rank, or one sends to all."""
    return len({move.src for move in moves}) == 1 or len({move.dst for move in moves}) == 1


def choose(costs: LinkCosts, plan: ShardPlan, batch_size: int) -> Choice:
    """The best collective for single tokens, and for batches where another one is better.

    Where the plan names what serves, that serves.

    In INVARIANT mode none sums across ranks: all are exact. In REDUCE mode those that cast sums a
    second time are picked only where that is worth it (`WORTH_A_CAST`).
    """
    is_auto = plan.collective.is_auto
    picks = _best_picks(costs, plan, batch_size) if is_auto else plan.collective.picks()
    sizes = [1, batch_size] if batch_size > 1 else [1]
    predicted = {
        name: tuple(predicted_s(costs, plan, name, size) for size in sizes) for name in COLLECTIVES
    }
    return Choice(costs, picks, tuple(sizes), predicted)


def _best_picks(costs: LinkCosts, plan: ShardPlan, batch_size: int) -> tuple[Pick, ...]:
    """What is best for a single token, and what for a whole batch from where on it is best."""
    first, last = _best(costs, plan, 1), _best(costs, plan, batch_size)
    if last is first:
        return (Pick(1, first),)
    low, high = 1, batch_size  # `first` or another serves the one, `last` the other
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _best(costs, plan, middle) is last else (middle, high)
    return Pick(1, first), Pick(high, last)


def _best(costs: LinkCosts, plan: ShardPlan, n_tokens: int) -> Name:
    times_s = {name: predicted_s(costs, plan, name, n_tokens) for name in COLLECTIVES}
    invariant = plan.sync_mode is SyncMode.INVARIANT
    exact = [name for name in COLLECTIVES if invariant or not name.scatters]
    best = min(exact, key=times_s.__getitem__)
    if times_s[best] > BETTER * times_s[Name.MESH]:
        best = Name.MESH
    others = [name for name in COLLECTIVES if name not in exact]
    if others and times_s[fastest := min(others, key=times_s.__getitem__)] <= (
        WORTH_A_CAST * times_s[best]
    ):
        return fastest
    return best
