"""How ranks combine vectors: a full mesh, every rank to every other.

All ranks add the parts in rank order, so x stays bit-identical everywhere. With one rank the casts
to the buffer type happen all the same, as in dllama.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.kernels import quantize
from engine.linear import Activations
from engine.quants import FloatType, row_bytes
from engine.sharding import Span

SYNC_SLICES = "SYNC_NODE_SLICES"
SYNC_LOGITS = "SYNC_LOGITS"

Floats = npt.NDArray[np.float32]


class Exchanger(Protocol):
    """The part of `wire.Links` that collectives need."""

    def exchange(self, op: str, sends: dict[int, Any], recvs: dict[int, Any]) -> None:
        """Send one buffer to each peer in sends and fill one from each peer in recvs."""


class MeshCollective:
    """All-reduce and all-gather of batches over the links of one rank."""

    def __init__(
        self, rank: int, world_size: int, links: Exchanger | None, buffer_type: FloatType
    ) -> None:
        self.rank, self.world_size, self.buffer_type = rank, world_size, buffer_type
        self._links = links
        self._stack: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._stacks: dict[int, npt.NDArray[np.uint8]] = {}  # views of it, by tokens
        self._buffers: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}

    def all_reduce(self, partial: Floats, x: Floats) -> None:
        """x (tokens, dim) += the sum over ranks of their partials (tokens, dim), cast."""
        parts = self._stacked(*x.shape)
        self._share(partial, list(parts))
        if self.buffer_type is FloatType.Q80:
            quantize.add_all_packed_q80(parts, x)
        else:
            for values in parts.view(np.float32):
                x += values

    def all_gather_add(self, local: Floats, x: Floats, columns: Sequence[Span]) -> None:
        """x (tokens, dim) += the ranks' slices, cast; rank r's stands at columns[r]."""
        for part, span in zip(self._gather(local, columns), columns, strict=True):
            if span.size:
                self._add(part, x, span.start)

    def all_gather(self, local: Floats, into: Activations, columns: Sequence[Span]) -> None:
        """Fill `into` (tokens, n) with the ranks' slices, cast; rank r's stands at columns[r]."""
        tokens = local.shape[0]
        for part, span in zip(self._gather(local, columns), columns, strict=True):
            if span.size == 0:
                continue
            if self.buffer_type is FloatType.Q80:
                quantize.unpack_q80_columns(
                    part, into.values[:tokens], into.scales[:tokens], span.start
                )
            else:
                into.floats[:tokens, span.start : span.stop] = part.view(np.float32)
        into.finish(tokens)

    def _add(self, part: npt.NDArray[np.uint8], x: Floats, first: int) -> None:
        if self.buffer_type is FloatType.Q80:
            quantize.add_packed_q80_columns(part, x, first)
        else:
            values = part.view(np.float32)
            x[:, first : first + values.shape[1]] += values

    def _gather(self, local: Floats, columns: Sequence[Span]) -> list[npt.NDArray[np.uint8]]:
        """Every rank's vectors in the buffer type, uint8 (tokens, bytes), in rank order."""
        tokens = local.shape[0]
        parts = [self._buffer(r, tokens, span.size) for r, span in enumerate(columns)]
        self._share(local, parts)
        return parts

    def _share(self, local: Floats, parts: list[npt.NDArray[np.uint8]]) -> None:
        """Cast `local` into this rank's part, send it to all and receive theirs."""
        mine = parts[self.rank]
        if mine.size:
            if self.buffer_type is FloatType.Q80:
                quantize.pack_q80(local, mine)
            else:
                mine.view(np.float32)[:] = local
        if self._links is not None and self.world_size > 1:
            peers = [r for r in range(self.world_size) if r != self.rank]
            self._links.exchange(
                SYNC_SLICES,
                {peer: mine for peer in peers if mine.size},
                {peer: parts[peer] for peer in peers if parts[peer].size},
            )

    def _stacked(self, tokens: int, n: int) -> npt.NDArray[np.uint8]:
        """A reused buffer for everyone's whole vectors, uint8 (ranks, tokens, bytes)."""
        held = self._stacks.get(tokens)
        if held is None:
            shape = (self.world_size, tokens, row_bytes(self.buffer_type, n))
            size = int(np.prod(shape))
            if self._stack.size < size:
                self._stack = np.empty(size, np.uint8)
                self._stacks.clear()
            held = self._stacks[tokens] = self._stack[:size].reshape(shape)
        return held

    def _buffer(self, rank: int, tokens: int, n: int) -> npt.NDArray[np.uint8]:
        """A reused buffer for one rank's part."""
        width = row_bytes(self.buffer_type, n)
        held = self._buffers.get((rank, width))
        if held is None or held.shape[0] < tokens:
            held = self._buffers[rank, width] = np.empty((tokens, width), np.uint8)
        return held[:tokens]


def gather_logits(
    links: Exchanger | None, rank: int, vocab: Sequence[Span], local: Floats
) -> Floats | None:
    """The whole logits (n_logits, vocab_size) on rank 0, None elsewhere.

    Args:
        links: this rank's links; None when it is alone.
        rank: this rank.
        vocab: each rank's rows of the classifier.
        local: this rank's logits (n_logits, vocab[rank].size).
    """
    n_logits = local.shape[0]
    if rank != 0:
        if local.size and links is not None:
            links.exchange(SYNC_LOGITS, {0: np.ascontiguousarray(local)}, {})
        return None
    parts = [local] + [np.empty((n_logits, span.size), np.float32) for span in vocab[1:]]
    recvs = {peer: part for peer, part in enumerate(parts) if peer and part.size}
    if links is not None and recvs:
        links.exchange(SYNC_LOGITS, {}, recvs)
    return np.concatenate(parts, axis=1) if len(parts) > 1 else local
