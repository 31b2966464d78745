"""From how many tokens on overlap of computation and communication pays: a closed form.

Without overlap a layer takes its computation and, after it, its exchanges. With overlap a batch
goes in two micro-batches, here its halves, of which one computes while the other is on the wire; an
exchange of both then takes the longest of

    the computation of both
    the bytes and further messages of both, which share the wire
    the computation of one and its exchange, for which its next operation waits

The costs of links are those of `collectives.choice`. What one more message costs the processor is
not in it: gains below `BETTER` count as none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dllama_engine.collectives.choice import BETTER, Choice, LinkCosts, rounds_s
from dllama_engine.sharding.collective import pick_for, with_halves
from dllama_engine.sharding.plan import ShardPlan, SyncMode


@dataclass(frozen=True, slots=True)
class ComputeCosts:
    """Time of a layer's matrix products on this rank, as measured.

    Attributes:
        batch_size: tokens of a whole batch.
        whole_s: seconds of a whole batch.
        half_s: seconds of the first half of one.
    """

    batch_size: int
    whole_s: float
    half_s: float

    def at_least(self, read_s: float) -> ComputeCosts:
        """Bound by memory: reading the layer's weights takes `read_s`, whatever the batch."""
        return replace(self, whole_s=max(self.whole_s, read_s), half_s=max(self.half_s, read_s))

    def layer_s(self, n_tokens: int) -> float:
        """Seconds of any batch: linear through the two that were measured."""
        half = (self.batch_size + 1) // 2
        if half == self.batch_size:
            return self.whole_s
        a_token_s = max(0.0, self.whole_s - self.half_s) / (self.batch_size - half)
        return max(0.0, self.half_s + (n_tokens - half) * a_token_s)


def batch_s(
    costs: LinkCosts, plan: ShardPlan, compute: ComputeCosts, n_tokens: int
) -> tuple[float, float]:
    """Seconds of a layer of a batch without and with overlap, by the collective that serves it."""
    n_exchanges = 2 if plan.sync_mode is SyncMode.REDUCE else 4
    name = pick_for(plan.picks, n_tokens).collective
    whole_s = sum(rounds_s(costs, plan, name, n_tokens))
    half = (n_tokens + 1) // 2
    rounds = rounds_s(costs, plan, name, half)
    computed_s, exchanged_s = compute.layer_s(half) / n_exchanges, sum(rounds)
    busy_s = exchanged_s - len(rounds) * costs.round_s
    halves_s = max(2 * computed_s, 2 * busy_s, computed_s + exchanged_s)
    return compute.layer_s(n_tokens) + n_exchanges * whole_s, n_exchanges * halves_s


def overlapped(choice: Choice, plan: ShardPlan, compute: ComputeCosts | None) -> Choice:
    """The choice with overlap where it is asked for or, with `auto`, where `batch_s` promises gain.

    Args:
        choice: of the collectives.
        plan: what was asked for.
        compute: what products take; needed with `auto` only, and without it nothing overlaps.
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
