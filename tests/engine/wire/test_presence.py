"""Signs of life: they stand between frames wherever they fall, and their absence is noticed."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllama_engine.errors import EngineError, InsufficientMemoryError, WireError, WorkerLost
from dllama_engine.tables.links import SEND_SEQUENCE
from dllama_engine.wire import last_words, presence
from dllama_engine.wire.frames import (
    ALIVE_FRAME,
    HEADER,
    KINDS,
    LAST_WORDS,
    SESSION,
    SYNC_LOGITS,
    SYNC_NODE_SLICES,
)
from dllama_engine.wire.links import Links
from tests.engine.wire.meshes import in_threads, mesh, tcp_pair

Mesh = Callable[[int, float], list[Links]]


@pytest.fixture
def connect() -> Iterator[Mesh]:
    """Connects ranks with each other, and closes what is left of them."""
    made: list[Links] = []

    def connect_all(world_size: int, timeout_s: float) -> list[Links]:
        ranks = mesh(world_size, timeout_s)
        made.extend(ranks)
        return ranks

    yield connect_all
    for links in made:
        links.close()


@pytest.fixture
def pass_s(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass for whoever tells and hears signs of life."""
    ahead_s = 0.0

    def let_pass(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds

    clock = SimpleNamespace(monotonic=lambda: ahead_s, sleep=time.sleep)
    monkeypatch.setattr(presence, "time", clock)
    return let_pass


def attend_for_ever(links: Links) -> None:
    while True:
        links.presence.attend(0.05)


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
    signs=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    cuts=st.lists(st.integers(1, 40), max_size=20),
    sizes=st.lists(st.sampled_from([0, 1, 7, 8, 9, 16, 100]), min_size=3, max_size=3),
)
def test_signs_between_frames_change_nothing(
    signs: list[int], cuts: list[int], sizes: list[int]
) -> None:
    """However many there are and however the bytes come, all frames arrive and count alike."""
    frames = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    wire = ALIVE_FRAME * signs[3]
    for frame, n_signs in zip(recorded(frames), signs, strict=False):
        wire += ALIVE_FRAME * n_signs + frame
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


def test_a_peer_that_tells_is_waited_for_longer_than_the_timeout(
    connect: Mesh, pass_s: Callable[[float], None]
) -> None:
    root, worker = connect(2, 20.0)
    for _ in range(20):  # five timeouts
        pass_s(5.0)
        worker.presence.attend()
        assert root.presence.attend(5.0) == ()  # until the sign is there

    def hear_nothing() -> None:
        for _ in range(5):
            pass_s(5.0)
            root.presence.attend()

    with pytest.raises(WorkerLost, match=r"no sign of life from worker 1 at .* for 20 s"):
        hear_nothing()


def test_waiting_for_a_frame_is_telling_too(connect: Mesh) -> None:
    """A worker between two requests, and a root whose user thinks."""
    root, worker = connect(2, 1.0)

    def think() -> None:
        until_s = time.monotonic() + 2.0  # two timeouts
        while time.monotonic() < until_s:
            root.presence.attend(0.05)
        root.send(SYNC_LOGITS, 1, b"now")

    buffer = bytearray(3)
    in_threads([think, lambda: worker.receive(SYNC_LOGITS, 0, buffer, 1.0)])
    assert buffer == b"now"


def test_a_silent_peer_is_named_among_telling_ones(
    connect: Mesh, pass_s: Callable[[float], None]
) -> None:
    root, first, _second = connect(3, 20.0)

    def hear_one() -> None:
        for _ in range(6):
            pass_s(5.0)
            first.presence.attend()
            root.presence.attend(5.0)

    with pytest.raises(WorkerLost, match=r"no sign of life from worker 2 at .* for 20 s") as caught:
        hear_one()
    assert caught.value.rank == 2
    root.close()
    with pytest.raises(WireError):
        attend_for_ever(first)


def test_a_closed_peer_is_noticed_at_once_though_another_one_is_waited_for(connect: Mesh) -> None:
    root, _first, second = connect(3, math.inf)
    second.close()
    with pytest.raises(WorkerLost, match=r"worker 2 at .* closed the connection") as caught:
        root.presence.attend(60.0)
    assert caught.value.rank == 2


def test_last_words_are_heard_while_attending(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    worker.say_last_words(InsufficientMemoryError("12 kB short"))
    with pytest.raises(InsufficientMemoryError, match=r"worker 1 at .* reports: 12 kB short"):
        root.presence.attend(60.0)


def test_a_frame_is_left_to_whoever_wants_it(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    worker.send_json(SESSION, 0, {"state": "connected"})
    assert root.presence.attend(60.0) == (1,)
    assert root.receive_json(SESSION, 1) == {"state": "connected"}


def test_a_file_descriptor_ends_the_waiting(connect: Mesh) -> None:
    root, _worker = connect(2, math.inf)
    readable, writable = os.pipe()
    os.write(writable, b"x")
    assert root.presence.attend(math.inf, readable) == ()
    os.close(readable)
    os.close(writable)


def test_signs_are_few(connect: Mesh) -> None:
    """At most four a timeout, and never more than one in fifteen seconds without need."""
    assert connect(2, 1.0)[0].presence.period_s == 0.25
    assert connect(2, 600.0)[0].presence.period_s == presence.MAX_PERIOD_S
    root, worker = connect(2, 100.0)
    for _ in range(50):
        root.presence.tell()
    assert worker.presence.attend() == ()
    with pytest.raises(WorkerLost, match="no progress in SESSION"):
        worker.receive(SESSION, 0, bytearray(1), 0.01)


def test_the_root_names_whom_its_peer_waits_for(connect: Mesh) -> None:
    """It waits for worker 1 alone, which waits for worker 2, which is stopped."""
    root, first, _second = connect(3, 2.0)

    def serve() -> None:
        with pytest.raises(WorkerLost, match="waiting for worker 2") as caught:
            first.exchange(SYNC_NODE_SLICES, {}, {2: bytearray(1)})
        first.say_last_words(caught.value)
        first.close()

    def wait() -> None:
        words = r"worker 1 at .* reports: no progress in .*waiting for worker 2"
        with pytest.raises(WorkerLost, match=words) as caught:
            root.exchange(SYNC_NODE_SLICES, {}, {1: bytearray(1)})
        assert caught.value.rank == 2

    in_threads([serve, wait])


def test_signs_of_life_keep_who_waits_in_an_exchange_waiting(connect: Mesh) -> None:
    """A worker that is ready for its weights while the root waits for a slower one."""
    root, worker = connect(2, 1.5)  # an exchange looks up a few times a second
    root.is_setting_up = worker.is_setting_up = True

    def wait_for_another() -> None:
        until_s = time.monotonic() + 3.0  # two timeouts
        while time.monotonic() < until_s:
            root.presence.attend(0.05)
        root.send(SYNC_LOGITS, 1, b"now")

    buffer = bytearray(3)
    in_threads([wait_for_another, lambda: worker.exchange(SYNC_LOGITS, {}, {0: buffer})])
    assert buffer == b"now"


@pytest.mark.parametrize("n_bytes", range(1, 8))
def test_a_part_of_a_header_is_no_sign_of_life_for_ever(n_bytes: int) -> None:
    near, far = tcp_pair()
    links = Links(0, 2, {1: near}, 0.2)
    try:
        far.sendall(ALIVE_FRAME[:n_bytes])
        with pytest.raises(WorkerLost, match=r"no sign of life from worker 1 at .* for 0\.2 s"):
            attend_for_ever(links)
    finally:
        links.close()
        far.close()


def test_last_words_of_any_length_are_not_made_room_for() -> None:
    near, far = tcp_pair()
    links = Links(0, 2, {1: near}, 5.0)
    try:
        far.sendall(HEADER.pack(0xFFFFFFF0, KINDS[LAST_WORDS], 3))
        with pytest.raises(
            WireError, match=r"expected LAST_WORDS .* of at most 65536 bytes"
        ) as got:
            attend_for_ever(links)
        assert got.value.rank == 1
    finally:
        links.close()
        far.close()


def test_who_is_blamed_by_a_peer_blames_the_link_to_it(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    worker.say_last_words(WireError("root (rank 0) at h:1 broke the protocol", 0))
    with pytest.raises(WireError, match=r"reports: root .rank 0. at h:1 broke") as caught:
        root.presence.attend(60.0)
    assert caught.value.rank == 1


def test_bytes_beyond_a_frame_explain_figures_that_cannot_be(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    error = EngineError("7 logits are not finite")
    assert root.explain(error) is error
    worker.presence.tell()  # a sign of life explains nothing
    assert root.explain(error) is error
    assert root.presence.attend(0.05) == ()
    worker.send(SYNC_LOGITS, 0, b"too much")
    found = root.explain(error)
    assert isinstance(found, WireError)
    assert found.rank == 1
    assert "its next bytes begin no frame that is due" in str(found)
    assert root.explain(error, SYNC_LOGITS) is error  # it may be the next piece of many
    assert root.explain(error, SESSION) is not error
    assert str(found).endswith("7 logits are not finite")


def test_who_is_blamed_by_a_peer_looks_whether_another_ones_bytes_are_out_of_place(
    connect: Mesh,
) -> None:
    """The root waited for the rest of a frame of worker 2's, and so let worker 1 wait."""
    root, first, second = connect(3, 5.0)
    second._peers[0].sock.sendall(b"end of words")
    first.say_last_words(WireError("no progress for 5 s, waiting for root (rank 0)", 0))
    with pytest.raises(WireError, match="begin no frame that is due") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 2


def test_frames_that_may_follow_take_no_blame(connect: Mesh) -> None:
    root, first, second = connect(3, 5.0)
    second.send(SYNC_LOGITS, 0, b"next")
    first.say_last_words(WireError("no progress for 5 s, waiting for root (rank 0)", 0))
    with pytest.raises(WireError, match=r"worker 1 at .* reports") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 1


def test_last_words_may_follow_whatever_their_number(connect: Mesh) -> None:
    """A frame of the second worker's had its number, and had not begun when the words went out."""
    root, first, second = connect(3, 5.0)
    second._peers[0].link[SEND_SEQUENCE] += 1
    second.say_last_words(WireError("worker 1 at h:1 reports: root (rank 0) broke the protocol", 0))
    first.say_last_words(WireError("root (rank 0) broke the protocol", 0))
    with pytest.raises(WireError, match=r"^worker 1 at .* reports: root") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 1


def test_who_found_a_link_broken_is_known_through_others(connect: Mesh) -> None:
    """Worker 2 finds the root's link broken and says so; the root hears it of worker 1 first."""
    root, first, second = connect(3, 5.0)
    broken = WireError("root (rank 0) broke the protocol", 0)
    second._peers[1].sock.sendall(_farewell(broken))
    with pytest.raises(WireError, match=r"worker 2 at .* reports: root") as heard:
        first.exchange(SYNC_LOGITS, {}, {2: bytearray(4)})
    first.say_last_words(heard.value)
    with pytest.raises(WireError, match=r"worker 1 at .* reports: worker 2 at .* root") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 2


def _farewell(error: WireError) -> bytes:
    words = last_words.encode(error)
    return HEADER.pack(len(words), KINDS[LAST_WORDS], 0) + words


def test_a_peer_that_waits_for_the_root_names_their_link(connect: Mesh) -> None:
    """What the root has sent did not come, and the peer gives up at the same time."""
    root, worker = connect(2, 0.3)

    def wait() -> None:
        with pytest.raises(WorkerLost, match=r"no progress in .* waiting for root") as late:
            worker.exchange(SYNC_LOGITS, {}, {0: bytearray(4)})
        worker.say_last_words(late.value)

    def wait_too() -> None:
        with pytest.raises(WorkerLost) as late:
            root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
        assert late.value.rank == 1

    in_threads([wait, wait_too])
