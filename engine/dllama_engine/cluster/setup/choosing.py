"""How batches are exchanged, where `auto` asks: all ranks probe, the root decides.

The frames of the probe are those of the exchanges to come: all ranks at once, on the cores that
they will stay on, so that a shared switch or shared cores show in the figures. Where it is asked
whether batches go in halves (`--overlap auto`) they multiply too; what the root sees counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from dllama_engine.arrays import Bytes, Table
from dllama_engine.cluster.placement import CoreSlots, pinned
from dllama_engine.collectives.choice import COLLECTIVES, Choice, FanCosts, LinkCosts, choose
from dllama_engine.collectives.halves import ComputeCosts, halved
from dllama_engine.errors import HandshakeError
from dllama_engine.formats.quants import Q_BLOCK, row_bytes
from dllama_engine.memory_rate import UNLIMITED
from dllama_engine.program.rate import value_s
from dllama_engine.sharding.collective import Collective, Pick
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.sharding.work import layer_values
from dllama_engine.tables.links import RECV_AT, RECV_BYTES, SEND_AT, SEND_BYTES
from dllama_engine.wire.frames import PROBE, SESSION
from dllama_engine.wire.links import Links

PAYLOAD_BYTES = 16 << 10  # of a frame that shows the rate
_WARM_UP, _EMPTY, _FULL = 3, 20, 5  # how many exchanges of each kind


def probe(links: Links) -> LinkCosts:
    """Five kinds of exchanges, the same on all ranks at the same time; what this rank saw.

    None of them can end on a rank before every rank has begun it: nobody runs ahead.

    Raises:
        WorkerLost: a peer that does not take part before the links' deadline.
    """
    n = links.world_size
    out, into = np.zeros(PAYLOAD_BYTES, np.uint8), np.empty((n, PAYLOAD_BYTES), np.uint8)
    doubling = _rounds(links, Collective.DOUBLING)
    fans = _rounds(links, Collective.GATHER_BCAST)
    full_fans = _rounds(links, Collective.GATHER_BCAST, out, into)
    empty, full = links.routes(), links.routes()
    empty[:, [SEND_BYTES, RECV_BYTES]] = 0
    full[:, [SEND_BYTES, RECV_BYTES]] = PAYLOAD_BYTES
    full[:, SEND_AT], full[:, RECV_AT] = out.ctypes.data, [row.ctypes.data for row in into]
    round_s = _typical_s(links, doubling, _EMPTY) / len(doubling)
    empty_s, full_s = _typical_s(links, [empty], _EMPTY), _typical_s(links, [full], _FULL, 2)
    fan_s, full_fan_s = _typical_s(links, fans, _EMPTY) / 2, _typical_s(links, full_fans, _FULL) / 2
    others_bytes = (n - 1) * PAYLOAD_BYTES
    return LinkCosts(
        round_s=round_s,
        message_s=max(0.0, empty_s - round_s) / max(1, n - 2),
        byte_s=max(0.0, full_s - empty_s) / others_bytes,
        fan=FanCosts(fan_s, max(0.0, full_fan_s - fan_s) / others_bytes),
    )


def _rounds(
    links: Links, name: Collective, out: Bytes | None = None, into: Bytes | None = None
) -> list[Table]:
    """This rank's part in a collective's rounds: of empty frames, or of `out` into rows of `into`.

    Args:
        links: of the rank.
        name: of the collective.
        out: payload of every frame, uint8 (n_bytes,).
        into: where that of each peer goes, uint8 (world_size, n_bytes).
    """
    rounds = []
    for moves in COLLECTIVES[name].gather_rounds(links.world_size):
        routes = links.routes()
        for move in moves:
            if move.src == links.rank:
                routes[move.dst, [SEND_AT, SEND_BYTES]] = _place(out)
            elif move.dst == links.rank:
                source = None if into is None else into[move.src]
                routes[move.src, [RECV_AT, RECV_BYTES]] = _place(source)
        rounds.append(routes)
    return rounds


def _place(payload: Bytes | None) -> tuple[int, int]:
    """Address and bytes."""
    return (0, 0) if payload is None else (payload.ctypes.data, payload.nbytes)


def _typical_s(links: Links, rounds: Sequence[Table], times: int, over: int = 1) -> float:
    """Median time of such rounds among several, one behind the other.

    Of any `over` in a row, from end to end: who is kept from its core, or whose peer is ahead by
    one, waits long for the one and finds the next there, and would take a slow link for a free one.
    """
    ends_s = [time.perf_counter()]
    for _ in range(_WARM_UP + times):
        for routes in rounds:
            links.exchange_routes(PROBE, routes)
        ends_s.append(time.perf_counter())
    rows_s = [after - before for before, after in zip(ends_s, ends_s[over:], strict=False)]
    return median(rows_s[_WARM_UP:]) / over


def probe_products(plan: ShardPlan, rank: int, slots: CoreSlots, batch_size: int) -> ComputeCosts:
    """What the products of a layer take with a whole batch and with half of one."""
    n_values, half = layer_values(plan, rank), (batch_size + 1) // 2
    types = plan.config.weight_type, plan.buffer_type
    sizes = plan.config.dim, n_values
    whole_s, half_s = value_s(*sizes, *types, slots.own, (batch_size, half))
    return ComputeCosts(batch_size, n_values * whole_s, n_values * half_s)


def _measured(
    plan: ShardPlan, links: Links, slots: CoreSlots, batch_size: int
) -> tuple[LinkCosts, ComputeCosts | None]:
    """What the plan leaves open, in the same order on all ranks."""
    with pinned(slots, lambda line: None):
        costs = probe(links)
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
    for rank in links.peers:  # no sooner: the root hears of each that it is connected
        links.send_json(SESSION, rank, {"state": "probing"})
    costs, compute = _measured(plan, links, slots, batch_size)
    if compute is not None:
        n_bytes = layer_values(plan, 0) * row_bytes(plan.config.weight_type, Q_BLOCK) / Q_BLOCK
        compute = compute.at_least(n_bytes / memory_rate)
    choice = halved(choose(costs, plan, batch_size), plan, compute)
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
