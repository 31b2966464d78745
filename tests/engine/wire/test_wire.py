"""Links over real sockets: every byte arrives, is counted, and a lost peer is named."""

from __future__ import annotations

import random
import signal
import socket
import time
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.errors import WireError
from dllama_engine.tables.links import (
    CALM,
    CALM_LENGTH,
    RECV_SEQUENCE,
    SEND_SEQUENCE,
    SENT_AT_NS,
    SWEEPS,
)
from dllama_engine.telemetry.timeline import TimelineKeeper
from dllama_engine.wire import counted, frames
from dllama_engine.wire.frames import SYNC_LOGITS, SYNC_NODE_SLICES, SYNC_WITH_ROOT
from dllama_engine.wire.links import Links
from tests.engine.wire.meshes import in_threads, mesh


def test_a_rank_that_keeps_its_core_counts_the_exchanges_down(pair: tuple[Links, Links]) -> None:
    """Frames arrive all the same, though the peer comes late; then it may yield again."""
    left, right = pair
    left.mesh[CALM] = 2
    for left_over in (1, 0):
        got = bytearray(3)

        def late() -> None:
            time.sleep(0.05)
            right.send(SYNC_NODE_SLICES, 0, b"abc")

        in_threads([lambda: left.exchange(SYNC_NODE_SLICES, {}, {1: got}), late])  # noqa: B023
        assert got == b"abc"
        if left_over:  # at 0 it yields, and may find that another program has the core
            assert left.mesh[CALM] == left_over


def test_beside_other_programs_a_rank_on_a_shared_core_does_not_look_again_and_again() -> None:
    """It keeps its core from them, but its own peers need it: it sleeps once nothing is there."""
    ranks = mesh(3)
    for links in ranks:
        links.share_cores(1)
        links.mesh[CALM] = 100

    def exchange(rank: int) -> None:
        if rank == 2:
            time.sleep(0.05)
        got = {peer: bytearray(3) for peer in ranks[rank].peers}
        ranks[rank].exchange(SYNC_NODE_SLICES, dict.fromkeys(ranks[rank].peers, b"abc"), got)

    start_s = time.monotonic()
    in_threads([lambda rank=rank: exchange(rank) for rank in range(3)])
    # One to begin with, one for each frame, one for each tenth of a second on a busy machine.
    limit = 12 + 10 * (time.monotonic() - start_s)
    assert all(links.mesh[SWEEPS] <= limit for links in ranks[:2])  # 40 and more by looking
    for links in ranks:
        links.close()


@pytest.mark.parametrize(
    ("apart", "order"), [(0, [3, 4, 5, 0, 1]), (2, [3, 5, 1, 4, 0]), (3, [3, 4, 0, 1, 5])]
)
def test_a_rank_sends_to_other_cores_before_its_own(apart: int, order: list[int]) -> None:
    """And begins with the next rank: no two begin with the same."""
    ranks = mesh(6)
    sender = ranks[2]
    kept = TimelineKeeper(6)  # only then it is noted when each frame was taken
    sender.share_cores(apart)
    sender.record_exchanges(kept.exchanges_at)
    sender.exchange(SYNC_NODE_SLICES, dict.fromkeys(sender.peers, b"abc"), {})
    assert sorted(sender.peers, key=lambda rank: sender.table[rank, SENT_AT_NS]) == order
    for links in ranks:
        links.close()


@pytest.mark.parametrize(("world_size", "yields"), [(2, False), (3, True)])
def test_on_shared_cores_a_rank_that_waits_for_one_peer_sleeps_at_once(
    world_size: int, yields: bool
) -> None:
    """Whoever has given its core away knows how that went: there is a length for the next time."""
    first, *others = mesh(world_size)
    first.share_cores(1)
    got = {peer: bytearray(3) for peer in first.peers}

    def late(links: Links) -> None:
        while first.mesh[SWEEPS] < world_size - 1:  # it has found nothing, and slept or yielded
            time.sleep(0.001)
        links.send(SYNC_NODE_SLICES, 0, b"abc")

    receive = partial(first.exchange, SYNC_NODE_SLICES, {}, got)
    in_threads([receive, *(partial(late, links) for links in others)])
    assert set(map(bytes, got.values())) == {b"abc"}
    assert bool(first.mesh[CALM_LENGTH]) is yields
    for links in (first, *others):
        links.close()


def all_to_all(links: Links, size: int, rounds: int) -> list[dict[int, bytes]]:
    """Each rank sends its number, repeated; returns what came."""
    got = []
    for _ in range(rounds):
        sends = {peer: np.full(size, links.rank, np.uint8) for peer in links.peers}
        recvs = {peer: np.zeros(size, np.uint8) for peer in links.peers}
        links.exchange(SYNC_NODE_SLICES, sends, recvs)
        got.append({peer: array.tobytes() for peer, array in recvs.items()})
    return got


@pytest.mark.parametrize(
    ("world_size", "size", "rounds"),
    [(2, 0, 3), (2, 1, 3), (4, 1000, 20), (8, 340, 5), (3, 9 << 20, 2)],
)
def test_every_frame_arrives_and_both_ends_count_alike(
    world_size: int, size: int, rounds: int
) -> None:
    ranks = mesh(world_size)
    got = in_threads([lambda rank=rank: all_to_all(rank, size, rounds) for rank in ranks])
    for links, rounds_got in zip(ranks, got, strict=True):
        for payloads in rounds_got:
            assert payloads == {peer: bytes([peer]) * size for peer in links.peers}
        totals = links.totals()
        for peer in links.peers:
            assert totals.sent_bytes[peer] == totals.recv_bytes[peer] == size * rounds
            assert totals.sent_messages[peer] == totals.recv_messages[peer] == rounds
        trace = links.take_trace()
        assert len(trace.kinds) == rounds
        assert sum(trace.bytes) == sum(totals.sent_bytes) + sum(totals.recv_bytes)
        assert {len(d) for d in trace.peer_durations_ns.values()} == {rounds}
        assert not links.take_trace().kinds
        links.close()


def test_frames_far_larger_than_socket_buffers_do_not_deadlock() -> None:
    ends = socket.socketpair()
    for sock in ends:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ranks = [Links(rank, 2, {1 - rank: ends[rank]}, 20.0) for rank in (0, 1)]
    got = in_threads([lambda rank=rank: all_to_all(rank, 3 << 20, 2) for rank in ranks])
    assert got[0][1] == {1: b"\1" * (3 << 20)}
    assert got[1][1] == {0: b"\0" * (3 << 20)}
    for links in ranks:
        links.close()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_uneven_frames_of_any_size(seed: int, world_size: int) -> None:
    """Sizes differ by pair and direction, and some pairs exchange nothing."""
    sizes = random.Random(seed)
    table = {
        (a, b): sizes.choice([None, 0, 1, 7, 4096, 200_001])
        for a in range(world_size)
        for b in range(world_size)
        if a != b
    }
    ranks = mesh(world_size)

    def job(links: Links) -> dict[int, bytes]:
        me = links.rank
        sends = {p: bytes([me]) * s for p in links.peers if (s := table[me, p]) is not None}
        recvs = {p: bytearray(s) for p in links.peers if (s := table[p, me]) is not None}
        links.exchange(SYNC_LOGITS, sends, recvs)
        return {peer: bytes(buffer) for peer, buffer in recvs.items()}

    got = in_threads([lambda links=links: job(links) for links in ranks])
    for links, payloads in zip(ranks, got, strict=True):
        expected = {p: s for p in links.peers if (s := table[p, links.rank]) is not None}
        assert payloads == {peer: bytes([peer]) * size for peer, size in expected.items()}
        links.close()


def test_a_fast_peer_may_run_ahead(pair: tuple[Links, Links]) -> None:
    left, right = pair
    for value in range(5):
        left.send(SYNC_WITH_ROOT, 1, bytes([value]) * 10)
    for value in range(5):
        buffer = bytearray(10)
        right.exchange(SYNC_WITH_ROOT, {}, {0: buffer})
        assert buffer == bytes([value]) * 10


def test_receive_takes_frames_up_to_the_buffer(pair: tuple[Links, Links]) -> None:
    left, right = pair
    buffer = np.zeros((2, 4), np.float32)
    left.send(SYNC_WITH_ROOT, 1, b"")
    left.send(SYNC_WITH_ROOT, 1, np.arange(3, dtype=np.float32))
    assert right.receive(SYNC_WITH_ROOT, 0, buffer) == 0
    assert right.receive(SYNC_WITH_ROOT, 0, buffer) == 12
    assert buffer[0].tolist() == [0, 1, 2, 0]
    left.send(SYNC_WITH_ROOT, 1, bytes(33))
    with pytest.raises(WireError, match=r"number 2 of at most 32 bytes, found .* of 33 bytes"):
        right.receive(SYNC_WITH_ROOT, 0, buffer)


def test_json_frames(pair: tuple[Links, Links]) -> None:
    left, right = pair
    left.send_json(frames.SESSION, 1, {"a": [1, "é"]})
    assert right.receive_json(frames.SESSION, 0) == {"a": [1, "é"]}
    left.send(frames.SESSION, 1, b"{")
    with pytest.raises(WireError, match="not JSON"):
        right.receive_json(frames.SESSION, 0)


@pytest.mark.parametrize(
    ("op", "size", "words"),
    [
        (SYNC_LOGITS, 10, "expected SYNC_NODE_SLICES number 0 of 10 bytes, found SYNC_LOGITS"),
        (SYNC_NODE_SLICES, 11, "number 0 of 10 bytes, found SYNC_NODE_SLICES number 0 of 11 bytes"),
        (SYNC_NODE_SLICES, 9, "found SYNC_NODE_SLICES number 0 of 9 bytes"),
    ],
)
def test_another_frame_than_the_expected_is_a_wire_error(
    pair: tuple[Links, Links], op: str, size: int, words: str
) -> None:
    left, right = pair
    left.send(op, 1, bytes(size))
    with pytest.raises(WireError, match=words):
        right.exchange(SYNC_NODE_SLICES, {}, {0: bytearray(10)})


def test_a_skipped_frame_is_noticed_by_its_number(pair: tuple[Links, Links]) -> None:
    left, right = pair
    left.table[1, SEND_SEQUENCE] = 1
    left.send(SYNC_LOGITS, 1, b"abc")
    with pytest.raises(WireError, match=r"number 0 of 3 bytes, found SYNC_LOGITS number 1"):
        right.exchange(SYNC_LOGITS, {}, {0: bytearray(3)})


def test_sequence_numbers_wrap(pair: tuple[Links, Links]) -> None:
    left, right = pair
    left.table[1, SEND_SEQUENCE] = right.table[0, RECV_SEQUENCE] = 0xFFFF
    for _ in range(3):
        left.send(SYNC_LOGITS, 1, b"abc")
        right.exchange(SYNC_LOGITS, {}, {0: bytearray(3)})


def test_the_trace_keeps_more_operations_than_compiled_code_has_room_for() -> None:
    left, right = mesh(2)
    n = 2 * counted._TRACE_ROWS + 5
    for value in range(n):
        left.send(SYNC_LOGITS, 1, bytes(value % 7))
        right.exchange(SYNC_LOGITS, {}, {0: bytearray(value % 7)})
    for links in (left, right):
        trace = links.take_trace()
        assert list(trace.bytes) == [value % 7 for value in range(n)]
        links.close()


def test_an_interrupt_leaves_no_watch_behind() -> None:
    left, right = mesh(2)
    previous = signal.signal(signal.SIGALRM, _interrupt)

    def wait_for_nothing() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        left.exchange(SYNC_NODE_SLICES, {}, {1: bytearray(10)})

    try:
        with pytest.raises(KeyboardInterrupt):
            wait_for_nothing()
    finally:
        signal.signal(signal.SIGALRM, previous)
    right.send(SYNC_NODE_SLICES, 0, bytes(10))
    left.exchange(SYNC_NODE_SLICES, {}, {1: bytearray(10)})
    left.close()
    right.close()


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def test_a_signal_that_returns_does_not_end_an_exchange() -> None:
    left, right = mesh(2)
    previous = signal.signal(
        signal.SIGALRM, lambda signum, frame: right.send(SYNC_LOGITS, 0, b"abc")
    )
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        buffer = bytearray(3)
        left.exchange(SYNC_LOGITS, {}, {1: buffer})
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert buffer == b"abc"
    left.close()
    right.close()


def test_totals_subtract_and_count_every_link(pair: tuple[Links, Links]) -> None:
    left, right = pair
    left.send(SYNC_WITH_ROOT, 1, bytes(7))
    before = left.totals()
    left.send(SYNC_WITH_ROOT, 1, bytes(5))
    right.exchange(SYNC_WITH_ROOT, {0: b"12"}, {})
    left.exchange(SYNC_WITH_ROOT, {}, {1: bytearray(2)})
    (link,) = (left.totals() - before).counts(0)
    counted = asdict(link)
    assert counted.pop("busy_us") > 0
    assert counted == {
        "peer": 1,
        "sent_payload_bytes": 5,
        "sent_framing_bytes": 8,
        "recv_payload_bytes": 2,
        "recv_framing_bytes": 8,
        "sent_messages": 1,
        "recv_messages": 1,
    }
