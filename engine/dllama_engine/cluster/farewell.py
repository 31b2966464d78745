"""The end of a session: the root says goodbye, and every worker sums up."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from dllama_engine.cluster.packet import GOODBYE
from dllama_engine.cluster.summary import SUMMARY_BYTES, RankSummary
from dllama_engine.telemetry.events.ranks import Rank
from dllama_engine.wire.frames import SESSION, SYNC_WITH_ROOT
from dllama_engine.wire.links import Links

if TYPE_CHECKING:
    from dllama_engine.telemetry.timeline import RankTrace
    from dllama_engine.wire.clock import Reading


def dismiss(
    links: Links,
    timeout_s: float,
    clocks: Mapping[int, Reading] | None,
    beside: Set[int],
) -> tuple[list[Rank], list[RankTrace]]:
    """Say goodbye to all workers: their accounts and, where they were kept, their raw spans.

    Args:
        links: of the root.
        timeout_s: for each answer.
        clocks: of each worker, when it was loaded; None where no raw spans are kept.
        beside: ranks on the root's machine.

    Raises:
        EngineError: a worker that is gone, or that answers with something else.
    """
    if links.peers:
        links.exchange(SYNC_WITH_ROOT, dict.fromkeys(links.peers, GOODBYE), {})
    accounts, traces = [], []
    for rank in links.peers:
        sender = f"worker {rank}"
        last = None if clocks is None else _reading(links, rank)
        answer = links.receive_json(SESSION, rank, limit_bytes=SUMMARY_BYTES, timeout_s=timeout_s)
        summary = RankSummary.from_json(answer, sender)
        if last is not None and clocks is not None:
            readings = clocks[rank], last
            traces.append(_trace(links, rank, timeout_s, readings, same_boot=rank in beside))
        accounts.append(summary.event("worker", links.address(rank)))
    return accounts, traces


# What only `--trace` needs is imported for it.


def _reading(links: Links, rank: int) -> Reading:
    from dllama_engine.wire import clock

    return clock.ask(links, rank)


def _trace(
    links: Links, rank: int, timeout_s: float, readings: tuple[Reading, Reading], *, same_boot: bool
) -> RankTrace:
    """What a worker sends behind its account."""
    from dllama_engine.telemetry.timeline import RankTrace, receive_timeline
    from dllama_engine.wire import clock

    timeline = receive_timeline(links, rank, f"worker {rank}", timeout_s)
    times = clock.between(*readings, same_boot=same_boot)
    return RankTrace(rank, links.address(rank), timeline, times)
