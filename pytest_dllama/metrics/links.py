"""Every link of a cell, from what its ranks told at the end of each request."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_dllama.events.ranks import NicCount, Rank, TcpCount, Times
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.metrics.definitions import PERCENTILE_MIN_SAMPLES
from pytest_dllama.record.links import LinkTimes, NicTraffic, TcpLink


@dataclass(slots=True)
class Histogram:
    """Histograms of the same buckets, added up."""

    counts: Counter[int] = field(default_factory=Counter)  # by the time that stands for a bucket
    sum_us: float = 0.0
    max_us: float = 0.0

    def add(self, times: Times) -> None:
        """One request more."""
        self.counts.update(dict(times.counts))
        self.sum_us += times.sum_us
        self.max_us = max(self.max_us, times.max_us)

    @property
    def n(self) -> int:
        """How many times it holds."""
        return self.counts.total()

    def percentile_ms(self, percent: int) -> float | None:
        """By nearest rank, with the binomial rule: None where there are too few.

        >>> times = Histogram(Counter({1_000_000: 10, 3_000_000: 2}), 16e3, 3e3)
        >>> times.percentile_ms(50), times.percentile_ms(99)
        (1.0, None)
        """
        if self.n < PERCENTILE_MIN_SAMPLES[percent]:
            return None
        rank, passed = -(-percent * self.n // 100), 0
        for ns in sorted(self.counts):
            passed += self.counts[ns]
            if passed >= rank:
                return min(ns / 1e6, self.max_us / 1e3)
        return None


def link_times(traces: Sequence[RequestTrace]) -> tuple[LinkTimes, ...]:
    """By rank and peer, over all repeats."""
    found: dict[tuple[int, int], tuple[Histogram, Histogram]] = {}
    for rank in _ranks(traces):
        for link in rank.times:
            duration, waiting = found.setdefault((rank.rank, link.peer), (Histogram(), Histogram()))
            duration.add(link.duration)
            waiting.add(link.waiting)
    return tuple(
        LinkTimes(
            rank=rank,
            peer=peer,
            n=duration.n,
            p50_ms=duration.percentile_ms(50),
            p90_ms=duration.percentile_ms(90),
            p99_ms=duration.percentile_ms(99),
            max_ms=duration.max_us / 1e3,
            waited_p50_ms=waiting.percentile_ms(50),
            waited_p99_ms=waiting.percentile_ms(99),
            waited_max_ms=waiting.max_us / 1e3,
            waited_s=waiting.sum_us / 1e6,
        )
        for (rank, peer), (duration, waiting) in sorted(found.items())
    )


def tcp_links(traces: Sequence[RequestTrace]) -> tuple[TcpLink, ...]:
    """By rank and peer: the newest round trips, counters of all repeats."""
    found: defaultdict[tuple[int, int], list[TcpCount]] = defaultdict(list)
    for rank in _ranks(traces):
        for link in rank.tcp:
            found[rank.rank, link.peer].append(link)
    return tuple(
        TcpLink(
            rank=rank,
            peer=peer,
            interface=counts[-1].interface,
            rtt_ms=counts[-1].rtt_us / 1e3,
            rttvar_ms=counts[-1].rttvar_us / 1e3,
            min_rtt_ms=counts[-1].min_rtt_us / 1e3,
            retransmits=sum(count.retransmits for count in counts),
            segments=sum(count.segments for count in counts),
            delivery_mbps=counts[-1].delivery_mbps,
        )
        for (rank, peer), counts in sorted(found.items())
    )


def nic_traffic(traces: Sequence[RequestTrace]) -> tuple[NicTraffic, ...]:
    """By rank and interface, the sums over all repeats."""
    found: defaultdict[tuple[int, str], list[NicCount]] = defaultdict(list)
    for rank in _ranks(traces):
        for nic in rank.nics:
            found[rank.rank, nic.name].append(nic)
    return tuple(
        NicTraffic(
            rank=rank,
            name=name,
            sent_bytes=sum(nic.sent_bytes for nic in nics),
            recv_bytes=sum(nic.recv_bytes for nic in nics),
            sent_errors=sum(nic.sent_errors for nic in nics),
            recv_errors=sum(nic.recv_errors for nic in nics),
            own_sent_bytes=sum(nic.own_sent_bytes for nic in nics),
            own_recv_bytes=sum(nic.own_recv_bytes for nic in nics),
        )
        for (rank, name), nics in sorted(found.items())
    )


def _ranks(traces: Sequence[RequestTrace]) -> list[Rank]:
    return [rank for trace in traces for rank in trace.ranks]
