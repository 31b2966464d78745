"""The gather of logits: every rank's slice of the vocabulary to the root."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dllama_engine.arrays import Floats, Table
from dllama_engine.collectives.base import Exchanger
from dllama_engine.program.program import address
from dllama_engine.sharding.plan import Span
from dllama_engine.tables.links import (
    RECV_AT,
    RECV_BYTES,
    SEND_AT,
    SEND_BYTES,
)
from dllama_engine.wire.frames import SYNC_LOGITS


class LogitsGather:
    """Brings the ranks' slices of the logits together on rank 0.

    Args:
        links: this rank's links; None when it is alone.
        rank: this rank.
        vocab: each rank's rows of the classifier.
    """

    def __init__(self, links: Exchanger | None, rank: int, vocab: Sequence[Span]) -> None:
        self._links, self._rank, self._vocab = links, rank, vocab
        self._n_logits = 0
        self._routes: Table = np.empty(0, np.int64)
        self._routes_at = 0
        self._whole: Floats = np.empty(0, np.float32)  # the ranks' slices, one behind the other
        self._parts: list[Floats] = []

    def gather(self, local: Floats, local_at: int = 0) -> Floats | None:
        """The whole logits (n_logits, vocab_size) on rank 0, None elsewhere.

        Args:
            local: this rank's logits (n_logits, vocab[rank].size), contiguous.
            local_at: their address, if the caller has it at hand: to ask for it takes a while.

        Returns:
            What is valid until the next call.
        """
        if self._links is None or len(local) == 0:
            return local if self._rank == 0 else None
        if len(local) != self._n_logits:
            self._prepare(len(local))
        if self._rank:
            if local.size:
                self._routes[0, SEND_AT] = local_at or address(local)
                self._links.exchange_routes(SYNC_LOGITS, self._routes, self._routes_at)
            return None
        self._links.exchange_routes(SYNC_LOGITS, self._routes, self._routes_at)
        self._parts[0][:] = local
        if self._n_logits == 1:
            return self._whole.reshape(1, -1)
        return np.concatenate(self._parts, axis=1)

    def _prepare(self, n_logits: int) -> None:
        """Routes and, on rank 0, room for that many rows."""
        assert self._links is not None
        self._n_logits, self._routes = n_logits, self._links.routes()
        self._routes_at = address(self._routes)
        if self._rank:
            self._routes[0, SEND_BYTES] = 4 * n_logits * self._vocab[self._rank].size
            return
        self._whole = np.empty(n_logits * self._vocab[-1].stop, np.float32)
        self._parts = []
        for rank, span in enumerate(self._vocab):
            part = self._whole[n_logits * span.start : n_logits * span.stop]
            self._parts.append(part.reshape(n_logits, span.size))
            if rank and span.size:
                self._routes[rank, [RECV_AT, RECV_BYTES]] = address(part), part.nbytes
