"""The end of a session: the root says goodbye, and every worker sums up."""

from __future__ import annotations

from collections.abc import Mapping, Set

from dllama_engine.cluster.packet import GOODBYE
from dllama_engine.cluster.summary import SUMMARY_BYTES, RankSummary
from dllama_engine.telemetry.events.ranks import Rank
from dllama_engine.telemetry.timeline import RankTrace, receive_timeline
from dllama_engine.wire import clock
from dllama_engine.wire.frames import SESSION, SYNC_WITH_ROOT
from dllama_engine.wire.links import Links


def dismiss(
    links: Links,
    timeout_s: float,
    clocks: Mapping[int, clock.Reading] | None,
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
        last = None if clocks is None else clock.ask(links, rank)
        answer = links.receive_json(SESSION, rank, limit_bytes=SUMMARY_BYTES, timeout_s=timeout_s)
        summary = RankSummary.from_json(answer, sender)
        if last is not None and clocks is not None:
            timeline = receive_timeline(links, rank, sender, timeout_s)
            times = clock.between(clocks[rank], last, same_boot=rank in beside)
            traces.append(RankTrace(rank, links.address(rank), timeline, times))
        accounts.append(summary.event("worker", links.address(rank)))
    return accounts, traces
