"""Statistics over all recorded operations: of every link, and of every kind of operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dllama_engine.tables.links import HEADER_BYTES
from dllama_engine.wire.frames import OPS
from dllama_engine.wire.trace import LinkTotals, LinkTrace


@dataclass(frozen=True, slots=True)
class LinkStats:
    """One socket of the root. Bytes count framing, `payload_bytes` does not."""

    peer: int
    operations: int
    sent_bytes: int
    recv_bytes: int
    payload_bytes: int
    avg_us: float
    max_us: float
    min_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    bandwidth_mbps: float  # Mbit/s over the time that the link was waited for

    @property
    def has_high_variance(self) -> bool:
        """The fork's rule."""
        return self.p95_us > 2 * self.p50_us

    @property
    def has_low_bandwidth(self) -> bool:
        """The fork's rule."""
        return self.bandwidth_mbps < 10 and self.operations > 100


@dataclass(frozen=True, slots=True)
class OpStats:
    """One kind of operation on the root, over all links; bytes are payload, both directions."""

    op: str
    operations: int
    bytes: int
    avg_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float


@dataclass(frozen=True, slots=True)
class NetworkStats:
    """All of the root's links and operations."""

    links: tuple[LinkStats, ...]
    ops: tuple[OpStats, ...]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of sorted values: always one that was measured.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5), percentile([1.0, 2.0], 0.99), percentile([], 0.5)
    (2.0, 2.0, 0.0)
    """
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def network_stats(trace: LinkTrace, totals: LinkTotals) -> NetworkStats:
    """Statistics of the operations in `trace`, whose bytes by link are in `totals`."""
    links = tuple(
        _link_stats(peer, [ns / 1e3 for ns in durations_ns], totals)
        for peer, durations_ns in trace.peer_durations_ns.items()
    )
    ops = []
    for kind in sorted(set(trace.kinds)):
        at = [i for i, other in enumerate(trace.kinds) if other == kind]
        durations_us = sorted(trace.durations_ns[i] / 1e3 for i in at)
        ops.append(
            OpStats(
                OPS[kind - 1],
                len(at),
                sum(trace.bytes[i] for i in at),
                sum(durations_us) / len(at),
                percentile(durations_us, 0.50),
                percentile(durations_us, 0.95),
                percentile(durations_us, 0.99),
                durations_us[-1],
            )
        )
    return NetworkStats(links, tuple(ops))


def _link_stats(peer: int, durations_us: list[float], totals: LinkTotals) -> LinkStats:
    ordered = sorted(durations_us)
    payload_bytes = totals.sent_bytes[peer] + totals.recv_bytes[peer]
    sent_bytes = totals.sent_bytes[peer] + HEADER_BYTES * totals.sent_messages[peer]
    recv_bytes = totals.recv_bytes[peer] + HEADER_BYTES * totals.recv_messages[peer]
    busy_us = sum(ordered)
    return LinkStats(
        peer=peer,
        operations=len(ordered),
        sent_bytes=sent_bytes,
        recv_bytes=recv_bytes,
        payload_bytes=payload_bytes,
        avg_us=busy_us / len(ordered) if ordered else 0.0,
        max_us=ordered[-1] if ordered else 0.0,
        min_us=ordered[0] if ordered else 0.0,
        p50_us=percentile(ordered, 0.50),
        p95_us=percentile(ordered, 0.95),
        p99_us=percentile(ordered, 0.99),
        bandwidth_mbps=8 * (sent_bytes + recv_bytes) / busy_us if busy_us else 0.0,
    )
