"""Every link of a cell over all its repeats: how long exchanges took on it, what the kernel saw."""

from __future__ import annotations

from pytest_dllama.record.base import Record


class LinkTimes(Record):
    """All exchanges in which `rank` awaited a frame of `peer`, as that rank lived them.

    From a histogram: percentiles are off by at most 0.8 %, the maxima are exact. A percentile is
    None where there are too few exchanges for it.
    """

    rank: int
    peer: int
    n: int
    p50_ms: float | None  # until the frame was whole
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float
    waited_p50_ms: float | None  # nothing moved, and this peer's frame was the last to begin
    waited_p99_ms: float | None
    waited_max_ms: float
    waited_s: float  # in all


class TcpLink(Record):
    """What the kernel of `rank` told of its socket to `peer`: the last repeat's round trips.

    Counters are the sums over the repeats.
    """

    rank: int
    peer: int
    interface: str | None
    rtt_ms: float
    rttvar_ms: float
    min_rtt_ms: float
    retransmits: int
    segments: int  # with data, sent
    delivery_mbps: float


class NicTraffic(Record):
    """What an interface moved while the requests ran, for whatever program; errors and drops."""

    rank: int
    name: str
    sent_bytes: int
    recv_bytes: int
    sent_errors: int
    recv_errors: int
    own_sent_bytes: int  # of it by us: payload and framing, without the headers of TCP and IP
    own_recv_bytes: int
