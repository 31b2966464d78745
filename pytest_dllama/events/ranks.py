"""Events that sum up a session: each rank's account, and the root's network report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pytest_dllama.events.base import BaseEvent, LinkCount, Part, Phase


class PhaseSpans(Part):
    """Where a rank's time went in a phase; prefill is all up to the first token."""

    phase: Phase
    steps: int
    us: dict[str, float] = Field(default_factory=dict)  # by kind of work
    waited_us: tuple[tuple[int, float], ...] = ()  # (peer whose message came last, nothing moved)


class Times(Part):
    """A histogram of times: (ns, how many), the largest and the sum exactly."""

    n: int
    sum_us: float
    max_us: float
    counts: tuple[tuple[int, int], ...] = ()


class LinkTimes(Part):
    """All exchanges of the request in which a frame of a peer was due."""

    peer: int
    duration: Times
    waiting: Times


class TcpCount(Part):
    """What the kernel told of one socket: round trips at the end, counters of the request."""

    peer: int
    interface: str | None = None
    rtt_us: int
    rttvar_us: int
    min_rtt_us: int
    retransmits: int
    segments: int
    delivery_mbps: float


class NicCount(Part):
    """What an interface moved during the request."""

    name: str
    sent_bytes: int
    recv_bytes: int
    sent_errors: int
    recv_errors: int
    own_sent_bytes: int
    own_recv_bytes: int


class Rank(BaseEvent):
    """One process's account of the request."""

    event: Literal["rank"]
    rank: int
    role: Literal["root", "worker"]
    address: str = ""
    hostname: str = ""
    pid: int | None = None
    peak_rss_bytes: int | None = None
    peak_pss_bytes: int | None = None
    weight_bytes: int | None = None
    kv_cache_bytes: int | None = None
    compute_us: float | None = None
    sync_us: float | None = None
    links: tuple[LinkCount, ...] = ()
    spans: tuple[PhaseSpans, ...] = ()
    times: tuple[LinkTimes, ...] = ()
    tcp: tuple[TcpCount, ...] = ()
    nics: tuple[NicCount, ...] = ()


class NetworkLink(Part):
    """All operations of one socket of the root."""

    peer: int
    operations: int
    sent_bytes: int
    recv_bytes: int
    payload_bytes: int = 0
    avg_us: float
    max_us: float
    min_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    bandwidth_mbps: float | None = None


class NetworkOp(Part):
    """All operations of one kind of collective on the root."""

    op: str
    operations: int
    bytes: int
    avg_us: float | None = None
    p50_us: float | None = None
    p95_us: float | None = None
    p99_us: float | None = None
    max_us: float | None = None


class NetworkTotal(Part):
    """All operations of the root, from an engine that reports sums in place of durations."""

    operations: int
    avg_us: float | None = None
    max_us: float | None = None
    min_us: float | None = None
    p50_us: float | None = None


class Network(BaseEvent):
    """The root's network report."""

    event: Literal["network"]
    links: tuple[NetworkLink, ...] = ()
    ops: tuple[NetworkOp, ...] = ()
    total: NetworkTotal | None = None
