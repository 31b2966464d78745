"""Histograms: each time lies within 0.8 % of what stands for it, and every exchange is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllama_engine.kernels.run.observe import bucket_of
from dllama_engine.tables.histograms import BUCKETS, PER_OCTAVE, USED
from dllama_engine.telemetry.histograms import LinkHistograms, middle_ns
from dllama_engine.wire.frames import SYNC_NODE_SLICES
from tests.engine.wire.meshes import in_threads, mesh


@given(st.integers(0, 2**41 - 1))
def test_a_time_is_near_what_stands_for_it(ns: int) -> None:
    found = bucket_of.py_func(ns)
    assert 0 <= found < BUCKETS
    assert abs(middle_ns(found) - ns) <= ns / (2 * PER_OCTAVE)
    assert bucket_of.py_func(middle_ns(found)) == found


def test_buckets_follow_each_other_without_a_gap() -> None:
    middles = [middle_ns(found) for found in range(BUCKETS)]
    assert middles == sorted(set(middles))
    assert [bucket_of.py_func(ns) for ns in range(300)] == sorted(
        bucket_of.py_func(ns) for ns in range(300)
    )
    assert bucket_of.py_func(2**60) == BUCKETS - 1  # longer than an hour: in the last


@pytest.fixture(scope="module")
def told() -> list[LinkHistograms]:
    """Three ranks exchange twenty times, then once to one side only."""
    ranks = mesh(3)
    histograms = [LinkHistograms(3, room=8) for _ in ranks]  # less than there will be

    def exchange(rank: int) -> None:
        links = ranks[rank]
        links.record_times(histograms[rank].address)
        for _ in range(20):
            got = {peer: bytearray(3) for peer in links.peers}
            links.exchange(SYNC_NODE_SLICES, dict.fromkeys(links.peers, b"abc"), got)
        if rank == 0:
            links.exchange(SYNC_NODE_SLICES, {1: b"abc"}, {})
        if rank == 1:
            links.exchange(SYNC_NODE_SLICES, {}, {0: bytearray(3)})
        links.record_times(0)
        links.exchange(SYNC_NODE_SLICES, dict.fromkeys(links.peers, b""), {
            peer: bytearray() for peer in links.peers
        })  # fmt: skip

    in_threads([lambda rank=rank: exchange(rank) for rank in range(3)])
    for links in ranks:
        links.close()
    return histograms


def test_every_awaited_frame_is_counted_once(told: list[LinkHistograms]) -> None:
    counted = {
        (rank, link.peer): (link.duration.n, link.waiting.n)
        for rank, histograms in enumerate(told)
        for link in histograms.told()
    }
    twenty = {(rank, peer): (20, 20) for rank in range(3) for peer in range(3) if rank != peer}
    assert counted == twenty | {(1, 0): (21, 21)}


def test_an_exchange_only_notes_its_times() -> None:
    """Counting touches memory all over the histograms: not between two frames of a token."""
    ranks = mesh(2)
    histograms = [LinkHistograms(2, room=4) for _ in ranks]

    def exchange(rank: int) -> None:
        ranks[rank].record_times(histograms[rank].address)
        for _ in range(4):
            ranks[rank].exchange(SYNC_NODE_SLICES, {1 - rank: b"abc"}, {1 - rank: bytearray(3)})

    in_threads([lambda rank=rank: exchange(rank) for rank in range(2)])
    for rank in range(2):
        assert not histograms[rank]._table.any()
        (link,) = histograms[rank].told()
        assert (link.peer, link.duration.n, link.waiting.n) == (1 - rank, 4, 4)
        assert histograms[rank].told() == (link,)
        ranks[rank].close()


def test_sums_and_maxima_are_exact_and_counts_near(told: list[LinkHistograms]) -> None:
    for histograms in told:
        for link in histograms.told():
            for times in (link.duration, link.waiting):
                assert sum(n for _, n in times.counts) == times.n
                by_buckets = sum(ns * n for ns, n in times.counts) / 1e3
                assert by_buckets == pytest.approx(times.sum_us, rel=0.008, abs=1e-3)
                assert times.counts[-1][0] / 1e3 == pytest.approx(times.max_us, rel=0.008)
            assert 0 < link.duration.max_us


def test_what_is_not_of_the_request_is_forgotten() -> None:
    histograms = LinkHistograms(2)
    histograms._table[1, 0, 5] = 3
    assert [link.duration.counts for link in histograms.told()] == [((3, 3),)]
    histograms._pending[USED] = 1
    histograms.forget()
    assert histograms.told() == ()
    assert not np.any(histograms._table)
