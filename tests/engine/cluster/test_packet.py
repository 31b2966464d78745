"""The step packet: a worker reads what the root wrote, and refuses what cannot be."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from dllama_engine.cluster.packet import GOODBYE, HEAD, StepPacket, packet_bytes, read_packet
from dllama_engine.errors import WireError
from dllama_engine.wire.frames import SYNC_WITH_ROOT
from dllama_engine.wire.links import Links

DIM, BATCH = 4, 3


def received(head: bytes, n_tokens: int) -> tuple[np.ndarray, int]:
    """A worker's buffer with a packet of so many tokens in it, and the packet's size."""
    packet = np.zeros(packet_bytes(BATCH, DIM), np.uint8)
    packet[: HEAD.size] = np.frombuffer(head, np.uint8)
    return packet, HEAD.size + 4 * DIM * n_tokens


def test_a_worker_runs_what_the_root_asks_for() -> None:
    to_worker, to_root = socket.socketpair()
    root, worker = Links(0, 2, {1: to_worker}), Links(1, 2, {0: to_root})
    packet, buffer = StepPacket(BATCH, DIM), np.zeros(packet_bytes(BATCH, DIM), np.uint8)
    packet.connect(root)
    for n_tokens, pos, n_logits in ((3, 0, 0), (1, 3, 1), (2, 7, 2)):
        packet.x(n_tokens)[:] = np.arange(n_tokens * DIM).reshape(n_tokens, DIM) + pos
        sender = threading.Thread(target=packet.send, args=(pos, n_tokens, n_logits))
        sender.start()
        size = worker.receive(SYNC_WITH_ROOT, 0, buffer, 60.0)
        sender.join()
        asked = read_packet(buffer, size, DIM)
        assert asked[:2] == (pos, n_logits)
        assert np.array_equal(asked[2], packet.x(n_tokens))
    for links in (root, worker):
        links.close()


def test_a_head_without_tokens_ends_the_session() -> None:
    packet, size = received(GOODBYE, 0)
    assert len(read_packet(packet, size, DIM)[2]) == 0


@pytest.mark.parametrize(("pos", "n_tokens", "n_logits"), [(-1, 1, 1), (0, 1, 2), (0, 2, 1)])
def test_what_cannot_be_is_refused(pos: int, n_tokens: int, n_logits: int) -> None:
    packet, size = received(HEAD.pack(pos, n_tokens, n_logits), 1)
    said = f"asked for {n_tokens} tokens at {pos} and {n_logits} logits with 24 bytes"
    with pytest.raises(WireError, match=said):
        read_packet(packet, size, DIM)
