"""A rank's summary of its session (memory, time, links): root and workers build it alike."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from dllama_engine.cluster.session import SessionConfig
from dllama_engine.errors import WireError
from dllama_engine.system.process_memory import PeakMemory
from dllama_engine.telemetry.events import ranks
from dllama_engine.telemetry.observation import Observation
from dllama_engine.wire.trace import LinkCount, LinkTotals

SUMMARY_BYTES = 8 << 20  # at most: the histograms grow with the number of links


@dataclass(frozen=True, slots=True)
class RankSummary(ranks.RankAccount):
    """A rank's account; a worker's crosses the wire as its last message."""

    @classmethod
    def of_this_process(
        cls,
        config: SessionConfig,
        memory: PeakMemory,
        weight_bytes: int,
        spent_ns: tuple[int, int],
        totals: LinkTotals,
        seen: Observation | None,
    ) -> RankSummary:
        """The account of the calling process.

        Args:
            config: of its session.
            memory: measured since the session began.
            weight_bytes: of its packed weights.
            spent_ns: on computing and in the links.
            totals: of its links.
            seen: what it observed; None: nothing.
        """
        compute_ns, sync_ns = spent_ns
        tcp, nics = seen.told_by_kernel() if seen is not None else ((), ())
        return cls(
            rank=config.rank,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            peak_rss_bytes=memory.rss_bytes,
            peak_pss_bytes=memory.pss_bytes,
            weight_bytes=weight_bytes,
            kv_cache_bytes=config.memory_needed.kv_cache_bytes,
            compute_us=compute_ns / 1e3,
            sync_us=sync_ns / 1e3,
            links=totals.counts(config.rank),
            spans=seen.told_spans() if seen is not None else (),
            times=seen.told_times() if seen is not None else (),
            tcp=tcp,
            nics=nics,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any, sender: str) -> RankSummary:
        """The inverse of `to_json`; `sender` is named where it is something else.

        Raises:
            WireError: a field is missing or unknown.
        """
        try:
            links = tuple(LinkCount(**link) for link in data["links"])
            spans = tuple(_spans(phase) for phase in data["spans"])
            times = tuple(_link_times(link) for link in data.get("times", ()))
            tcp = tuple(ranks.TcpCount(**link) for link in data.get("tcp", ()))
            nics = tuple(ranks.NicCount(**nic) for nic in data.get("nics", ()))
            parts = {"links": links, "spans": spans, "times": times, "tcp": tcp, "nics": nics}
            return cls(**(data | parts))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise WireError(f"the summary of {sender} does not fit: {error}") from None

    def event(self, role: Literal["root", "worker"], address: str) -> ranks.Rank:
        """As the event stream has it, with what the root knows of the rank."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return ranks.Rank(role=role, address=address, **told)


def _spans(data: Any) -> ranks.PhaseSpans:
    waited_us = tuple((int(peer), float(us)) for peer, us in data["waited_us"])
    return ranks.PhaseSpans(**(data | {"waited_us": waited_us}))


def _link_times(data: Any) -> ranks.LinkTimes:
    return ranks.LinkTimes(
        int(data["peer"]), *(_times(data[measure]) for measure in ("duration", "waiting"))
    )


def _times(data: Any) -> ranks.Times:
    counts = tuple((int(ns), int(n)) for ns, n in data["counts"])
    return ranks.Times(**(data | {"counts": counts}))
