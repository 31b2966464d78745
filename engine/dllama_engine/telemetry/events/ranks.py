"""The event that sums up a session: each rank's account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dllama_engine.telemetry.events.base import Event, Phase
from dllama_engine.wire.trace import LinkCount


@dataclass(frozen=True, slots=True)
class PhaseSpans:
    """Where a rank's time went in a phase; prefill is all up to the first token.

    What no span covers is the difference to the phase's duration.
    """

    phase: Phase
    steps: int
    us: dict[str, float]  # by kind of work (`tables.spans.NAMES`)
    waited_us: tuple[tuple[int, float], ...]  # (peer whose message came last, nothing moved)


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram of times on a logarithmic scale; no time is off by more than 0.8 %.

    `counts` are (ns, how many): the middle of a bucket, and the times that belong to it.
    """

    n: int
    sum_us: float  # exactly, as the largest is
    max_us: float
    counts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """Every exchange of the request in which a frame of that peer was due.

    How long until the frame was whole, and how long nothing moved until it began to come; 0 where
    another one came later.
    """

    peer: int
    duration: Times
    waiting: Times


@dataclass(frozen=True, slots=True)
class TcpCount:
    """What the kernel knows of one socket: round trips at the end, counters of the request."""

    peer: int
    interface: str | None
    rtt_us: int
    rttvar_us: int
    min_rtt_us: int
    retransmits: int
    segments: int  # with data, sent
    delivery_mbps: float


@dataclass(frozen=True, slots=True)
class NicCount:
    """What an interface moved during the request, for whatever program; errors and drops."""

    name: str
    sent_bytes: int
    recv_bytes: int
    sent_errors: int
    recv_errors: int
    own_sent_bytes: int  # of them over this rank's links, without the headers of TCP and IP
    own_recv_bytes: int


@dataclass(frozen=True, slots=True)
class RankAccount:
    """What one process tells of its session."""

    rank: int
    hostname: str
    pid: int
    peak_rss_bytes: int
    peak_pss_bytes: int | None
    weight_bytes: int
    kv_cache_bytes: int
    compute_us: float
    sync_us: float
    links: tuple[LinkCount, ...]
    spans: tuple[PhaseSpans, ...]  # none where they were not counted
    times: tuple[LinkTimes, ...] = ()  # nor these, then
    tcp: tuple[TcpCount, ...] = ()  # none where the kernel does not tell
    nics: tuple[NicCount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank(RankAccount, Event):
    """One process's account, with what the root knows of it."""

    NAME: ClassVar[str] = "rank"

    role: Literal["root", "worker"]
    address: str
