"""A peer that is silent, gone or late is named."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from dllama_engine.errors import WorkerLost
from dllama_engine.tables.links import (
    AGAIN,
    KIND,
    MOVED_NS,
    UNDER_WAY,
)
from dllama_engine.wire import exchanges as exchanges_module
from dllama_engine.wire import links as links_module
from dllama_engine.wire import suspension as suspension_module
from dllama_engine.wire.frames import KINDS, SYNC_LOGITS, SYNC_NODE_SLICES, SYNC_WITH_ROOT
from dllama_engine.wire.links import Links


def test_a_silent_peer_is_lost_after_the_deadline(impatient: tuple[Links, Links]) -> None:
    left, _ = impatient
    with pytest.raises(WorkerLost) as caught:
        left.exchange(SYNC_NODE_SLICES, {1: b"x"}, {1: bytearray(100)})
    assert caught.value.rank == 1
    words = str(caught.value)
    assert "no progress in SYNC_NODE_SLICES for 0.3 s" in words
    assert "worker 1 at 127.0.0.1:" in words
    assert "0 bytes unsent, 108 to receive" in words
    assert "--timeout" in words


def test_a_peer_that_never_reads_is_lost_after_the_deadline(
    impatient: tuple[Links, Links],
) -> None:
    left, _ = impatient
    with pytest.raises(WorkerLost, match=r"[1-9]\d* bytes unsent"):
        left.send(SYNC_NODE_SLICES, 1, bytes(64 << 20))


def test_time_that_a_rank_itself_was_away_is_nobodys_silence(
    pair: tuple[Links, Links], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped, or whose machine slept: its peers have the whole timeout yet."""
    left, _ = pair
    now_ns = 10**15
    for module in (links_module, exchanges_module, suspension_module):
        monkeypatch.setattr(module, "_now_ns", lambda: now_ns)
    left.mesh[[UNDER_WAY, KIND, MOVED_NS]] = 1, KINDS[SYNC_LOGITS], now_ns
    for away_s in (0.1, 3600.0, 0.1, 3600.0):
        now_ns += int(away_s * 1e9)
        left.settle(AGAIN)
    looks = []

    def look_on() -> None:
        nonlocal now_ns
        while True:
            now_ns += 10**8
            left.settle(AGAIN)
            looks.append(now_ns)

    with pytest.raises(WorkerLost, match=r"no progress in SYNC_LOGITS for 60 s"):
        look_on()
    assert len(looks) == 578  # of a tenth of a second, and 2 s for all that was before


def test_a_frame_is_waited_for_though_the_waiting_rank_was_away(
    pair: tuple[Links, Links], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = pair
    away_ns, hour_ns = iter([0]), 3600 * 10**9
    for module in (links_module, exchanges_module, suspension_module):
        monkeypatch.setattr(
            module, "_now_ns", lambda: time.perf_counter_ns() + next(away_ns, hour_ns)
        )
    left.heartbeats.period_s = 0.01
    timer = threading.Timer(0.1, right.send, (SYNC_LOGITS, 0, b"abc"))
    timer.start()
    buffer = bytearray(3)
    left.receive(SYNC_LOGITS, 1, buffer, 60.0)
    timer.join()
    assert buffer == b"abc"


def test_receive_has_its_own_deadline(pair: tuple[Links, Links]) -> None:
    left, right = pair
    with pytest.raises(WorkerLost, match=r"for 0\.05 s"):
        right.receive(SYNC_WITH_ROOT, 0, bytearray(8), timeout_s=0.05)
    # half a header, then silence
    left._peers[1].sock.send(b"\0\0\0")
    with pytest.raises(WorkerLost):
        right.receive(SYNC_WITH_ROOT, 0, bytearray(8), timeout_s=0.05)


@pytest.mark.parametrize("sent", [b"", b"\x05", struct.pack("<IHH", 5, 2, 0) + b"ab"])
def test_a_closed_peer_is_lost_at_once(pair: tuple[Links, Links], sent: bytes) -> None:
    left, right = pair
    left._peers[1].sock.send(sent)
    left.close()
    with pytest.raises(WorkerLost, match=r"root \(rank 0\) at .* closed the connection during"):
        right.exchange(SYNC_NODE_SLICES, {}, {0: bytearray(5)})


def test_sending_to_a_reset_peer_is_worker_lost(pair: tuple[Links, Links]) -> None:
    left, right = pair
    sock = left._peers[1].sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()  # a reset, as a killed process with unread data makes
    with pytest.raises(WorkerLost, match=r"is lost|closed the connection"):
        right.exchange(SYNC_NODE_SLICES, {0: bytes(10)}, {0: bytearray(5)})
