"""When a batch goes in halves: by the model of `collectives.choice`, and what products take.

Whole, a layer takes its computing and, behind it, its exchanges. Of the halves one computes while
the other is on the wire, so that an exchange of both takes the longest of

    what both compute
    the bytes and further messages of both, which share the wire
    what one computes, and its exchange: its next work waits for that

What a message more costs the processor is not in it: small gains count as none (`BETTER`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dllama_engine.collectives.choice import BETTER, Choice, LinkCosts, rounds_s
from dllama_engine.sharding.collective import pick_for, with_halves
from dllama_engine.sharding.plan import ShardPlan, SyncMode


@dataclass(frozen=True, slots=True)
class ComputeCosts:
    """What the products of a layer take on this rank, in seconds.

    Attributes:
        batch_size: tokens of a whole batch.
        whole_s: of a whole batch.
        half_s: of the first half of one.
    """

    batch_size: int
    whole_s: float
    half_s: float

    def at_least(self, read_s: float) -> ComputeCosts:
        """On a board whose memory takes so long for the layer's weights, whatever the batch."""
        return replace(self, whole_s=max(self.whole_s, read_s), half_s=max(self.half_s, read_s))

    def layer_s(self, n_tokens: int) -> float:
        """Of any batch: on the straight line through the two."""
        half = (self.batch_size + 1) // 2
        if half == self.batch_size:
            return self.whole_s
        a_token_s = max(0.0, self.whole_s - self.half_s) / (self.batch_size - half)
        return max(0.0, self.half_s + (n_tokens - half) * a_token_s)


def batch_s(
    costs: LinkCosts, plan: ShardPlan, compute: ComputeCosts, n_tokens: int
) -> tuple[float, float]:
    """A layer of a batch, whole and in halves, exchanged by what serves so many tokens."""
    n_exchanges = 2 if plan.sync_mode is SyncMode.REDUCE else 4
    name = pick_for(plan.picks, n_tokens).collective
    whole_s = sum(rounds_s(costs, plan, name, n_tokens))
    half = (n_tokens + 1) // 2
    rounds = rounds_s(costs, plan, name, half)
    computed_s, exchanged_s = compute.layer_s(half) / n_exchanges, sum(rounds)
    busy_s = exchanged_s - len(rounds) * costs.round_s
    halves_s = max(2 * computed_s, 2 * busy_s, computed_s + exchanged_s)
    return compute.layer_s(n_tokens) + n_exchanges * whole_s, n_exchanges * halves_s


def halved(choice: Choice, plan: ShardPlan, compute: ComputeCosts | None) -> Choice:
    """The choice with halves where they are asked for or, with `auto`, promise `BETTER` times.

    Args:
        choice: of the collectives.
        plan: what was asked for.
        compute: what products take; needed with `auto` only.
    """
    if not plan.overlap.is_auto:
        return replace(choice, picks=plan.overlap.picks(choice.picks))
    if compute is None:
        return choice
    picked = plan.with_picks(choice.picks)

    def wins(n_tokens: int) -> bool:
        whole_s, halves_s = batch_s(choice.costs, picked, compute, n_tokens)
        return halves_s <= BETTER * whole_s

    size = compute.batch_size
    choice = replace(choice, layer_s=batch_s(choice.costs, picked, compute, size))
    if size < 2 or not wins(size):
        return choice
    low, high = 1, size  # one token has no halves; the largest batch wins
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wins(middle) else (middle, high)
    return replace(choice, picks=with_halves(choice.picks, high))
