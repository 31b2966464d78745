"""The gather of logits: every rank's slice of the vocabulary to the root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Rows:
    """Routes and, on rank 0, room for so many rows of logits.

    Attributes:
        n_logits: rows.
        routes: by which the slices go.
        routes_at: their address.
        whole: the ranks' slices, one behind the other.
        parts: each slice of it, float32 (n_logits, size).
    """

    n_logits: int
    routes: Table
    routes_at: int
    whole: Floats
    parts: Sequence[Floats]


class LogitsGather:
    """Brings the ranks' slices of the logits together on rank 0.

    Args:
        links: this rank's links; None when it is alone.
        rank: this rank.
        vocab: each rank's rows of the classifier.
    """

    def __init__(self, links: Exchanger | None, rank: int, vocab: Sequence[Span]) -> None:
        self._links, self._rank, self._vocab = links, rank, vocab
        # A generated token's stay where they are, for whoever exchanges them by `routes_of_one`.
        self._one = self._rows(1)
        self._more = self._one

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
        rows = self._rows_for(len(local))
        if self._rank:
            if local.size:
                rows.routes[0, SEND_AT] = local_at or address(local)
                self._links.exchange_routes(SYNC_LOGITS, rows.routes, rows.routes_at)
            return None
        self._links.exchange_routes(SYNC_LOGITS, rows.routes, rows.routes_at)
        return self._whole(rows, local)

    def routes_of_one(self, local_at: int) -> Table | None:
        """By which a single row is exchanged from that address; None if this rank has no part."""
        if self._links is None or not (self._rank == 0 or self._vocab[self._rank].size):
            return None
        if self._rank:
            self._one.routes[0, SEND_AT] = local_at
        return self._one.routes

    @property
    def whole(self) -> Floats | None:
        """On rank 0, where a single row of all ranks' logits comes together, float32 (vocab,).

        Its own part is missing there; None if it is alone.
        """
        return None if self._links is None else self._one.whole

    def whole_of_one(self, local: Floats) -> Floats:
        """On rank 0, what `gather` returns, once `routes_of_one` were exchanged."""
        return local if self._links is None else self._whole(self._one, local)

    def _whole(self, rows: _Rows, local: Floats) -> Floats:
        rows.parts[0][:] = local
        if rows.n_logits == 1:
            return rows.whole.reshape(1, -1)
        return np.concatenate(rows.parts, axis=1)

    def _rows_for(self, n_logits: int) -> _Rows:
        if n_logits == 1:
            return self._one
        if n_logits != self._more.n_logits:
            self._more = self._rows(n_logits)
        return self._more

    def _rows(self, n_logits: int) -> _Rows:
        nothing = np.empty(0, np.int64)
        if self._links is None:
            return _Rows(n_logits, nothing, 0, np.empty(0, np.float32), ())
        routes = self._links.routes()
        if self._rank:
            routes[0, SEND_BYTES] = 4 * n_logits * self._vocab[self._rank].size
            return _Rows(n_logits, routes, address(routes), np.empty(0, np.float32), ())
        whole, parts = np.empty(n_logits * self._vocab[-1].stop, np.float32), []
        for rank, span in enumerate(self._vocab):
            part = whole[n_logits * span.start : n_logits * span.stop]
            parts.append(part.reshape(n_logits, span.size))
            if rank and span.size:
                routes[rank, [RECV_AT, RECV_BYTES]] = address(part), part.nbytes
        return _Rows(n_logits, routes, address(routes), whole, parts)
