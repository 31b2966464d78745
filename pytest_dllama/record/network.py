"""The wire of a cell, as the run file has it."""

from __future__ import annotations

from pytest_dllama.record.base import Record
from pytest_dllama.record.links import LinkTimes, NicTraffic, TcpLink


class OpStats(Record):
    """All durations of one kind of collective on the root, over every repeat."""

    op: str  # dllama's names: SYNC_WITH_ROOT, SYNC_NODE_SLICES, SYNC_LOGITS
    operations: int
    bytes: int
    avg_ms: float
    p50_ms: float | None
    p95_ms: float | None  # None: too few samples for this percentile
    p99_ms: float | None
    max_ms: float | None


class LinkStats(Record):
    """One socket of the root, totals of one request (median repeat)."""

    peer: int
    operations: int
    sent_bytes: int
    recv_bytes: int
    avg_ms: float
    max_ms: float
    min_ms: float
    p50_ms: float
    p95_ms: float | None
    p99_ms: float | None
    bandwidth_mbps: float | None


class NetworkRecord(Record):
    """The wire as the root saw it in the median repeat; None values where there is no peer."""

    operations: int
    total_bytes: int  # payload + framing, sent + received, all links of the root
    payload_bytes: int | None
    framing_bytes: int | None
    expected_payload_bytes: int | None  # closed form of the shard plan
    bytes_per_token: float | None  # payload of one decode step, root's links
    sync_share: float | None  # time in collectives / step time, root, decode
    avg_ms: float | None
    max_ms: float | None
    min_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    bandwidth_mbps: float | None
    slowest_peer: int | None
    high_variance_peers: tuple[int, ...] = ()  # P95 > 2 * P50
    links: tuple[LinkStats, ...] = ()
    ops: tuple[OpStats, ...] = ()
    times: tuple[LinkTimes, ...] = ()  # of every link of every rank; none: the engine tells none
    tcp: tuple[TcpLink, ...] = ()  # nor the kernel
    nics: tuple[NicTraffic, ...] = ()
