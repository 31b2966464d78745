"""Weights over the network, a worker's end: it receives what the root sends (`sending`) and packs.

A piece is packed while the next one comes in: what has arrived waits in the socket. It is small, so
that it is packed out of the cache that it was received into.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dllama_engine.arrays import Bytes
from dllama_engine.errors import ModelFileError
from dllama_engine.loading.pieces import PIECE_BYTES, Layout, Ranges
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.frames import LOAD
from dllama_engine.wire.links import Links


def receive_weights(
    links: Links,
    weights: RankWeights,
    layout: Layout | None = None,
    missing: Ranges | None = None,
    keep: Callable[[int, Bytes], object] = lambda index, raw: None,
) -> None:
    """Take and pack the pieces as they come, in the order of the file.

    Args:
        links: to the root.
        weights: this rank's.
        layout: of this rank, if it is known.
        missing: the pieces that are still to come; all by default.
        keep: given each piece, which is another one's afterwards.

    Raises:
        EngineError: the root is gone, a value that is not finite.
    """
    layout = layout or Layout.of(weights.plan, weights.rank)
    missing = ((0, len(layout)),) if missing is None else missing
    buffer = np.empty(PIECE_BYTES, np.uint8)
    for index in (index for ends in missing for index in range(*ends)):
        piece = layout.pieces[index]
        if piece.nbytes > buffer.nbytes:  # one row is longer than a piece
            buffer = np.empty(piece.nbytes, np.uint8)
        raw = buffer[: piece.nbytes].reshape(piece.span.size, -1)
        links.exchange(LOAD, {}, {0: raw})
        keep(index, raw)
        try:
            weights.add(piece.spec, raw, piece.span.start)
        except ModelFileError as error:  # the root has read the same: was it sent the same?
            raise links.explain(error, LOAD) from None
    weights.finish()
