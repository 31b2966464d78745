"""Figures of links over repeats: histograms add up, counters too, the newest round trip stands."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dllama.events.ranks import LinkTimes, NicCount, Rank, TcpCount, Times
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.metrics.links import link_times, nic_traffic, tcp_links
from tests.plugin.traces_for_tests import decode_step, trace


def times(*counts: tuple[int, int]) -> Times:
    """A histogram by its (us, how many)."""
    return Times(
        n=sum(n for _, n in counts),
        sum_us=float(sum(us * n for us, n in counts)),
        max_us=float(max(us for us, _ in counts)),
        counts=tuple((1000 * us, n) for us, n in counts),
    )


def told(*links: LinkTimes, **fields: Any) -> RequestTrace:
    """A request of which rank 1 told these links."""
    rank = Rank(event="rank", rank=1, role="worker", times=links, **fields)
    return trace([decode_step(0, 5, 1_000_000)], ranks=(rank,))


def test_percentiles_are_those_of_all_repeats_together() -> None:
    first = LinkTimes(peer=0, duration=times((100, 400)), waiting=times((0, 390), (50, 10)))
    later = LinkTimes(
        peer=0, duration=times((100, 90), (900, 9), (5000, 1)), waiting=times((0, 99), (4000, 1))
    )
    (link,) = link_times([told(first), told(later)])
    assert (link.rank, link.peer, link.n) == (1, 0, 500)
    assert (link.p50_ms, link.p90_ms, link.p99_ms, link.max_ms) == (0.1, 0.1, 0.9, 5.0)
    assert (link.waited_p50_ms, link.waited_p99_ms, link.waited_max_ms) == (0.0, 0.05, 4.0)
    assert link.waited_s == pytest.approx(0.0045)


def test_too_few_exchanges_have_no_tail() -> None:
    few = times((100, 458))
    (link,) = link_times([told(LinkTimes(peer=2, duration=few, waiting=few))])
    assert (link.p50_ms, link.p90_ms, link.p99_ms) == (0.1, 0.1, None)


def test_the_kernels_counters_add_up_and_its_round_trip_is_the_newest() -> None:
    def tcp(again: int, rtt_us: int) -> TcpCount:
        return TcpCount(
            peer=0, interface="eth0", rtt_us=rtt_us, rttvar_us=10, min_rtt_us=90,
            retransmits=again, segments=100, delivery_mbps=900.0,
        )  # fmt: skip

    nic = NicCount(
        name="eth0", sent_bytes=50, recv_bytes=40, sent_errors=1, recv_errors=2,
        own_sent_bytes=30, own_recv_bytes=20,
    )  # fmt: skip
    traces = [told(tcp=(tcp(2, 200),), nics=(nic,)), told(tcp=(tcp(1, 150),), nics=(nic,))]
    (link,) = tcp_links(traces)
    assert (link.retransmits, link.segments, link.rtt_ms, link.min_rtt_ms) == (3, 200, 0.15, 0.09)
    (found,) = nic_traffic(traces)
    assert (found.rank, found.sent_bytes, found.recv_errors, found.own_sent_bytes) == (
        1,
        100,
        4,
        60,
    )


def test_an_engine_that_tells_none_has_none() -> None:
    silent = [told()]
    assert (link_times(silent), tcp_links(silent), nic_traffic(silent)) == ((), (), ())
