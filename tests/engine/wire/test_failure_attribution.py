"""Which rank a failure is attributed to, through what peers report in their error frames."""

from __future__ import annotations

import pytest

from dllama_engine.errors import EngineError, InsufficientMemoryError, WireError, WorkerLost
from dllama_engine.tables.links import SEND_SEQUENCE
from dllama_engine.wire import error_frame
from dllama_engine.wire.frames import ERROR, HEADER, KINDS, SESSION, SYNC_LOGITS, SYNC_NODE_SLICES
from dllama_engine.wire.links import Links
from tests.engine.wire.meshes import Mesh, in_threads, mesh, tcp_pair


@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_a_reported_error_is_raised_in_place_of_the_frame(
    pair: tuple[Links, Links], size: int
) -> None:
    left, right = pair
    left.send_error(InsufficientMemoryError("needs 3 GB, has 2"))
    left.close()
    with pytest.raises(InsufficientMemoryError, match=r"root \(rank 0\) .* reports: needs 3 GB"):
        right.exchange(SYNC_NODE_SLICES, {}, {0: bytearray(size)})


def test_an_error_frame_names_the_rank_that_was_really_lost() -> None:
    """Rank 2 dies; rank 1 tells the root, whoever's socket the root reads first."""
    root, one, two = mesh(3)
    two.close()
    with pytest.raises(WorkerLost) as at_one:
        one.exchange(SYNC_NODE_SLICES, {}, {2: bytearray(10)})
    one.send_error(at_one.value)
    one.close()
    with pytest.raises(WorkerLost) as at_root:
        root.exchange(SYNC_NODE_SLICES, {}, {1: bytearray(10)})
    assert at_root.value.rank == 2
    assert "worker 1 at" in str(at_root.value)
    root.close()


def test_an_error_frame_survives_a_failing_send() -> None:
    left, right = mesh(2)
    left.send(SYNC_NODE_SLICES, 1, bytes(100))
    left.send_error(InsufficientMemoryError("no room"))
    left.close()
    with pytest.raises(InsufficientMemoryError, match="no room"):
        right.exchange(SYNC_NODE_SLICES, {0: bytes(64 << 20)}, {})
    right.close()


def test_the_root_names_whom_its_peer_waits_for(connect: Mesh) -> None:
    """It waits for worker 1 alone, which waits for worker 2, which is stopped."""
    root, first, _second = connect(3, 2.0)

    def serve() -> None:
        with pytest.raises(WorkerLost, match="waiting for worker 2") as caught:
            first.exchange(SYNC_NODE_SLICES, {}, {2: bytearray(1)})
        first.send_error(caught.value)
        first.close()

    def wait() -> None:
        words = r"worker 1 at .* reports: no progress in .*waiting for worker 2"
        with pytest.raises(WorkerLost, match=words) as caught:
            root.exchange(SYNC_NODE_SLICES, {}, {1: bytearray(1)})
        assert caught.value.rank == 2

    in_threads([serve, wait])


def test_an_error_frame_of_any_length_is_not_made_room_for() -> None:
    near, far = tcp_pair()
    links = Links(0, 2, {1: near}, 5.0)
    try:
        far.sendall(HEADER.pack(0xFFFFFFF0, KINDS[ERROR], 3))
        with pytest.raises(WireError, match=r"expected ERROR .* of at most 65536 bytes") as got:
            links.heartbeats.watch(60.0)
        assert got.value.rank == 1
    finally:
        links.close()
        far.close()


def test_a_rank_that_a_peer_names_names_the_link_to_it(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    worker.send_error(WireError("root (rank 0) at h:1 broke the protocol", 0))
    with pytest.raises(WireError, match=r"reports: root .rank 0. at h:1 broke") as caught:
        root.heartbeats.watch(60.0)
    assert caught.value.rank == 1


def test_bytes_beyond_a_frame_explain_figures_that_cannot_be(connect: Mesh) -> None:
    root, worker = connect(2, 5.0)
    error = EngineError("7 logits are not finite")
    assert root.explain(error) is error
    worker.heartbeats.send_due()  # a heartbeat explains nothing
    assert root.explain(error) is error
    assert root.heartbeats.watch(0.05) == ()
    worker.send(SYNC_LOGITS, 0, b"too much")
    found = root.explain(error)
    assert isinstance(found, WireError)
    assert found.rank == 1
    assert "its next bytes begin no frame that is due" in str(found)
    assert root.explain(error, SYNC_LOGITS) is error  # it may be the next piece of many
    assert root.explain(error, SESSION) is not error
    assert str(found).endswith("7 logits are not finite")


def test_a_rank_that_a_peer_names_looks_for_bytes_of_others_out_of_place(
    connect: Mesh,
) -> None:
    """The root waited for the rest of a frame of worker 2's, and so let worker 1 wait."""
    root, first, second = connect(3, 5.0)
    second._peers[0].sock.sendall(b"end of words")
    first.send_error(WireError("no progress for 5 s, waiting for root (rank 0)", 0))
    with pytest.raises(WireError, match="begin no frame that is due") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 2


def test_a_peer_whose_frames_may_follow_is_not_named(connect: Mesh) -> None:
    root, first, second = connect(3, 5.0)
    second.send(SYNC_LOGITS, 0, b"next")
    first.send_error(WireError("no progress for 5 s, waiting for root (rank 0)", 0))
    with pytest.raises(WireError, match=r"worker 1 at .* reports") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 1


def test_an_error_frame_may_follow_whatever_its_number(connect: Mesh) -> None:
    """A frame of the second worker's had its number, and had not begun when the words went out."""
    root, first, second = connect(3, 5.0)
    second._peers[0].link[SEND_SEQUENCE] += 1
    second.send_error(WireError("worker 1 at h:1 reports: root (rank 0) broke the protocol", 0))
    first.send_error(WireError("root (rank 0) broke the protocol", 0))
    with pytest.raises(WireError, match=r"^worker 1 at .* reports: root") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 1


def test_who_found_a_link_broken_is_known_through_others(connect: Mesh) -> None:
    """Worker 2 finds the root's link broken and says so; the root hears it of worker 1 first."""
    root, first, second = connect(3, 5.0)
    broken = WireError("root (rank 0) broke the protocol", 0)
    second._peers[1].sock.sendall(_error_frame(broken))
    with pytest.raises(WireError, match=r"worker 2 at .* reports: root") as heard:
        first.exchange(SYNC_LOGITS, {}, {2: bytearray(4)})
    first.send_error(heard.value)
    with pytest.raises(WireError, match=r"worker 1 at .* reports: worker 2 at .* root") as caught:
        root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
    assert caught.value.rank == 2


def _error_frame(error: WireError) -> bytes:
    words = error_frame.encode(error)
    return HEADER.pack(len(words), KINDS[ERROR], 0) + words


def test_a_peer_that_waits_for_the_root_names_their_link(connect: Mesh) -> None:
    """What the root has sent did not come, and the peer gives up at the same time."""
    root, worker = connect(2, 0.3)

    def wait() -> None:
        with pytest.raises(WorkerLost, match=r"no progress in .* waiting for root") as late:
            worker.exchange(SYNC_LOGITS, {}, {0: bytearray(4)})
        worker.send_error(late.value)

    def wait_too() -> None:
        with pytest.raises(WorkerLost) as late:
            root.exchange(SYNC_LOGITS, {}, {1: bytearray(4)})
        assert late.value.rank == 1

    in_threads([wait, wait_too])
