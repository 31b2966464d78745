"""The step packet, which the root sends all workers before each forward pass: what to run.

A head of `HEAD`, then the tokens' embeddings x, float32 (n_tokens, dim). A head without tokens ends
the session.
"""

from __future__ import annotations

import struct

import numpy as np

from dllama_engine.arrays import Bytes, Floats, Table
from dllama_engine.errors import WireError
from dllama_engine.tables.links import SEND_AT, SEND_BYTES
from dllama_engine.tables.operations import HEAD_BYTES
from dllama_engine.wire.frames import SYNC_WITH_ROOT
from dllama_engine.wire.links import Links

HEAD = struct.Struct("<iHH")  # position of the first token, n_tokens, n_logits
assert HEAD.size == HEAD_BYTES
GOODBYE = HEAD.pack(0, 0, 0)


def packet_bytes(batch_size: int, dim: int) -> int:
    """The largest packet: its head and a whole batch."""
    return HEAD.size + 4 * batch_size * dim


class StepPacket:
    """The root's end: one buffer, which is filled and sent again for every step.

    Args:
        batch_size: most tokens of a step.
        dim: of x.
    """

    def __init__(self, batch_size: int, dim: int) -> None:
        self._packet = np.zeros(packet_bytes(batch_size, dim), np.uint8)
        self._bytes = self._packet.data
        self._x: Floats = self._packet[HEAD.size :].view(np.float32).reshape(batch_size, dim)
        self._size = 0  # of the last one

    @property
    def bytes(self) -> Bytes:
        """Head and embeddings, as they are sent."""
        return self._packet

    def x(self, n_tokens: int) -> Floats:
        """Where the embeddings of so many tokens belong, float32 (n_tokens, dim)."""
        return self._x[:n_tokens]

    def connect(self, links: Links) -> None:
        """Know all workers to send to."""
        self._links, self._routes = links, links.routes()
        self._routes[1:, SEND_AT] = self._packet.ctypes.data
        self._routes_at = self._routes.ctypes.data
        self._routes_of_one = self._routes.copy()
        self._routes_of_one[1:, SEND_BYTES] = packet_bytes(1, self._x.shape[1])

    @property
    def routes_of_one(self) -> Table:
        """By which the packet of a single token goes to the workers, once it is filled."""
        return self._routes_of_one

    def fill(self, pos: int, n_tokens: int, n_logits: int) -> None:
        """Write the head of the tokens whose embeddings are in place."""
        HEAD.pack_into(self._bytes, 0, pos, n_tokens, n_logits)

    def send(self, pos: int, n_tokens: int, n_logits: int) -> None:
        """Tell all workers to run the tokens whose embeddings are in place.

        Raises:
            WireError: a worker that is gone.
        """
        self.fill(pos, n_tokens, n_logits)
        size = HEAD.size + 4 * n_tokens * self._x.shape[1]
        if size != self._size:
            self._size = size
            self._routes[1:, SEND_BYTES] = size
        self._links.exchange_routes(SYNC_WITH_ROOT, self._routes, self._routes_at)


def read_packet(packet: Bytes, size: int, dim: int) -> tuple[int, int, Floats]:
    """A worker's end: what to run, as the root asks for it.

    Args:
        packet: the buffer that it was received into.
        size: of the packet.
        dim: of x.

    Returns:
        Position of the first token, number of logits, and x float32 (n_tokens, dim), a view;
        without tokens the session ends.

    Raises:
        WireError: a packet that cannot be.
    """
    pos, n_tokens, n_logits = HEAD.unpack_from(packet.data)
    if n_tokens and (size != HEAD.size + 4 * dim * n_tokens or n_logits > n_tokens or pos < 0):
        raise WireError(
            f"the root asked for {n_tokens} tokens at {pos} and {n_logits} logits with "
            f"{size} bytes; that cannot be"
        )
    x = packet[HEAD.size : HEAD.size + 4 * dim * n_tokens]
    return pos, n_logits, x.view(np.float32).reshape(n_tokens, dim)
