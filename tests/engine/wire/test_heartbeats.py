"""Heartbeats: they stand between frames wherever they fall, and a silent peer is noticed."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllama_engine.errors import InsufficientMemoryError, WireError, WorkerLost
from dllama_engine.wire import heartbeats
from dllama_engine.wire.frames import (
    HEARTBEAT_FRAME,
    SESSION,
    SYNC_LOGITS,
    SYNC_NODE_SLICES,
)
from dllama_engine.wire.links import Links
from tests.engine.wire.meshes import Mesh, in_threads, tcp_pair


@pytest.fixture
def pass_s(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass for whoever sends and hears heartbeats."""
    ahead_s = 0.0

    def let_pass(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds

    clock = SimpleNamespace(monotonic=lambda: ahead_s, sleep=time.sleep)
    monkeypatch.setattr(heartbeats, "time", clock)
    return let_pass


def watch_for_ever(links: Links) -> None:
    while True:
        links.heartbeats.watch(0.05)


def recorded(frames: list[bytes]) -> list[bytes]:
    """The same frames, as bytes on the wire."""
    near, far = socket.socketpair()
    links = Links(1, 2, {0: near})
    wire = []
    for frame in frames:
        links.send(SYNC_NODE_SLICES, 0, frame)
        wire.append(far.recv(1 << 16))
    links.close()
    far.close()
    return wire


@given(
    counts=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    cuts=st.lists(st.integers(1, 40), max_size=20),
    sizes=st.lists(st.sampled_from([0, 1, 7, 8, 9, 16, 100]), min_size=3, max_size=3),
)
def test_heartbeats_between_frames_change_nothing(
    counts: list[int], cuts: list[int], sizes: list[int]
) -> None:
    """However many there are and however the bytes come, all frames arrive and count alike."""
    frames = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    wire = HEARTBEAT_FRAME * counts[3]
    for frame, n_heartbeats in zip(recorded(frames), counts, strict=False):
        wire += HEARTBEAT_FRAME * n_heartbeats + frame
    near, far = tcp_pair()
    links = Links(0, 2, {1: near}, 20.0)

    def send() -> None:
        left = wire
        for cut in cuts:
            far.sendall(left[:cut])
            left = left[cut:]
        far.sendall(left)

    got = [bytearray(size) for size in sizes]

    def receive() -> None:
        for buffer in got[:2]:
            links.exchange(SYNC_NODE_SLICES, {}, {1: buffer})
        assert links.receive(SYNC_NODE_SLICES, 1, got[2], 20.0) == sizes[2]

    in_threads([send, receive])
    assert [bytes(buffer) for buffer in got] == frames
    totals = links.totals()
    assert (totals.recv_bytes[1], totals.recv_messages[1]) == (sum(sizes), len(sizes))
    links.close()
    far.close()


def test_a_peer_that_sends_heartbeats_is_waited_for_longer_than_the_timeout(
    connect: Mesh, pass_s: Callable[[float], None]
) -> None:
    root, worker = connect(2, 20.0)
    for _ in range(20):  # five timeouts
        pass_s(5.0)
        worker.heartbeats.watch()
        assert root.heartbeats.watch(5.0) == ()  # until the heartbeat is there

    def hear_nothing() -> None:
        for _ in range(5):
            pass_s(5.0)
            root.heartbeats.watch()

    with pytest.raises(WorkerLost, match=r"no sign of life from worker 1 at .* for 20 s"):
        hear_nothing()


def test_who_waits_for_a_frame_sends_heartbeats_too(connect: Mesh) -> None:
    """A worker between two requests, and a root whose user thinks."""
    root, worker = connect(2, 1.0)

    def think() -> None:
        until_s = time.monotonic() + 2.0  # two timeouts
        while time.monotonic() < until_s:
            root.heartbeats.watch(0.05)
        root.send(SYNC_LOGITS, 1, b"now")

    buffer = bytearray(3)
    in_threads([think, lambda: worker.receive(SYNC_LOGITS, 0, buffer, 1.0)])
    assert buffer == b"now"


def test_a_silent_peer_is_named_among_others_that_send_heartbeats(
    connect: Mesh, pass_s: Callable[[float], None]
) -> None:
    root, first, _second = connect(3, 20.0)

    def hear_one() -> None:
        for _ in range(6):
            pass_s(5.0)
            first.heartbeats.watch()
            root.heartbeats.watch(5.0)

    with pytest.raises(WorkerLost, match=r"no sign of life from worker 2 at .* for 20 s") as caught:
        hear_one()
    assert caught.value.rank == 2
    root.close()
    with pytest.raises(WireError):
        watch_for_ever(first)


def test_a_closed_peer_is_noticed_at_once_though_another_one_is_waited_for(connect: Mesh) -> None:
    root, _first, second = connect(3, math.inf)
    second.close()
    with pytest.raises(WorkerLost, match=r"worker 2 at .* closed the connection") as caught:
        root.heartbeats.watch(60.0)
    assert caught.value.rank == 2


def test_an_error_frame_is_heard_while_watching(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    worker.send_error(InsufficientMemoryError("12 kB short"))
    with pytest.raises(InsufficientMemoryError, match=r"worker 1 at .* reports: 12 kB short"):
        root.heartbeats.watch(60.0)


def test_a_frame_is_left_to_whoever_wants_it(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    worker.send_json(SESSION, 0, {"state": "connected"})
    assert root.heartbeats.watch(60.0) == (1,)
    assert root.receive_json(SESSION, 1) == {"state": "connected"}


def test_a_file_descriptor_ends_the_waiting(connect: Mesh) -> None:
    root, _worker = connect(2, math.inf)
    readable, writable = os.pipe()
    os.write(writable, b"x")
    assert root.heartbeats.watch(math.inf, readable) == ()
    os.close(readable)
    os.close(writable)


def test_heartbeats_are_few(connect: Mesh) -> None:
    """At most four a timeout, and never more than one in fifteen seconds without need."""
    assert connect(2, 1.0)[0].heartbeats.period_s == 0.25
    assert connect(2, 600.0)[0].heartbeats.period_s == heartbeats.MAX_PERIOD_S
    root, worker = connect(2, 100.0)
    for _ in range(50):
        root.heartbeats.send_due()
    assert worker.heartbeats.watch() == ()
    with pytest.raises(WorkerLost, match="no progress in SESSION"):
        worker.receive(SESSION, 0, bytearray(1), 0.01)


def test_heartbeats_keep_who_waits_in_an_exchange_waiting(connect: Mesh) -> None:
    """A worker that is ready for its weights while the root waits for a slower one."""
    root, worker = connect(2, 1.5)  # an exchange looks up a few times a second
    root.is_setting_up = worker.is_setting_up = True

    def wait_for_another() -> None:
        until_s = time.monotonic() + 3.0  # two timeouts
        while time.monotonic() < until_s:
            root.heartbeats.watch(0.05)
        root.send(SYNC_LOGITS, 1, b"now")

    buffer = bytearray(3)
    in_threads([wait_for_another, lambda: worker.exchange(SYNC_LOGITS, {}, {0: buffer})])
    assert buffer == b"now"


@pytest.mark.parametrize("n_bytes", range(1, 8))
def test_a_part_of_a_header_is_no_heartbeat_for_ever(n_bytes: int) -> None:
    near, far = tcp_pair()
    links = Links(0, 2, {1: near}, 0.2)
    try:
        far.sendall(HEARTBEAT_FRAME[:n_bytes])
        with pytest.raises(WorkerLost, match=r"no sign of life from worker 1 at .* for 0\.2 s"):
            watch_for_ever(links)
    finally:
        links.close()
        far.close()
