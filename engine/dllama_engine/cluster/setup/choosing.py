"""How batches are exchanged, where `auto` asks: all ranks probe, the root decides.

All take part in what `probing` measures of the links. Where it is asked whether batches go in
halves (`--overlap auto`) they multiply such batches too; what the root sees counts. What measures
and weighs is imported where it is asked for: every rank comes through here, few are asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dllama_engine.cluster.placement import CoreSlots, pinned
from dllama_engine.errors import HandshakeError
from dllama_engine.formats.quants import Q_BLOCK, row_bytes
from dllama_engine.memory_rate import UNLIMITED
from dllama_engine.sharding.collective import Pick
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.sharding.work import layer_values
from dllama_engine.wire.frames import SESSION
from dllama_engine.wire.links import Links

if TYPE_CHECKING:
    from dllama_engine.collectives.choice import Choice, LinkCosts
    from dllama_engine.collectives.overlap import ComputeCosts


def probe_products(plan: ShardPlan, rank: int, slots: CoreSlots, batch_size: int) -> ComputeCosts:
    """What the products of a layer take with a whole batch and with half of one."""
    from dllama_engine.collectives.overlap import ComputeCosts
    from dllama_engine.program.rate import value_s

    n_values, half = layer_values(plan, rank), (batch_size + 1) // 2
    types = plan.config.weight_type, plan.buffer_type
    sizes = plan.config.dim, n_values
    whole_s, half_s = value_s(*sizes, *types, slots.own, (batch_size, half))
    return ComputeCosts(batch_size, n_values * whole_s, n_values * half_s)


def _measured(
    plan: ShardPlan, links: Links, slots: CoreSlots, batch_size: int
) -> tuple[LinkCosts, ComputeCosts | None]:
    """What the plan leaves open, in the same order on all ranks."""
    from dllama_engine.cluster.setup.probing import probe

    with pinned(slots, lambda line: None):
        costs = probe(links, plan, slots.own)
        if not plan.overlap.is_auto:
            return costs, None
        return costs, probe_products(plan, links.rank, slots, batch_size)


def choose_as_root(
    plan: ShardPlan,
    links: Links,
    slots: CoreSlots,
    batch_size: int,
    memory_rate: float = UNLIMITED,
) -> tuple[ShardPlan, Choice | None]:
    """Probe, choose and tell the workers, if the plan asks for it; the plan with what serves.

    Args:
        plan: what was asked for.
        links: the root's.
        slots: its cores.
        batch_size: tokens of the largest batch.
        memory_rate: bytes a second that an emulated board reads; infinite: as it is.
    """
    if not plan.is_open:
        return plan, None
    from dllama_engine.collectives.choice import choose
    from dllama_engine.collectives.overlap import overlapped

    for rank in links.peers:  # no sooner: the root hears of each that it is connected
        links.send_json(SESSION, rank, {"state": "probing"})
    costs, compute = _measured(plan, links, slots, batch_size)
    if compute is not None:
        n_bytes = layer_values(plan, 0) * row_bytes(plan.config.weight_type, Q_BLOCK) / Q_BLOCK
        compute = compute.at_least(n_bytes / memory_rate)
    choice = overlapped(choose(costs, plan, batch_size), plan, compute)
    for rank in links.peers:
        links.send_json(SESSION, rank, {"picks": [pick.to_json() for pick in choice.picks]})
    return plan.with_picks(choice.picks), choice


def choose_as_worker(plan: ShardPlan, links: Links, slots: CoreSlots, batch_size: int) -> ShardPlan:
    """Take part in the probe and hear what the root chose.

    Raises:
        HandshakeError: what it says does not fit.
    """
    if not plan.is_open:
        return plan
    links.receive_json(SESSION, 0, timeout_s=links.timeout_s)
    _measured(plan, links, slots, batch_size)
    answer: Any = links.receive_json(SESSION, 0, timeout_s=links.timeout_s)
    try:
        return plan.with_picks(Pick.from_json(pick) for pick in answer["picks"])
    except (KeyError, TypeError, ValueError) as error:
        raise HandshakeError(f"the root's choice of collectives does not fit: {error!r}") from None
