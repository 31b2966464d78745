"""Weights over the network, the root's end: it cuts and sends, and packs its own meanwhile.

The root reads the file once, in order. Each tensor goes out in rounds of one piece a rank, to all
workers at the same time, while the root packs its own piece. A piece is small, so that nobody ever
holds a second copy of anything large. Workers take theirs by `receiving`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

import numpy as np

from dllama_engine.arrays import Bytes
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.loading.pieces import contains, cut
from dllama_engine.loading.supply import Supply
from dllama_engine.system.mapped_pages import drop_pages
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.frames import LOAD
from dllama_engine.wire.links import Links

Progress = Callable[[int, int], None]  # bytes done, of all


def send_weights(
    model: ModelFile,
    links: Links,
    weights: RankWeights,
    progress: Progress = lambda *_: None,
    *,
    supply: Supply | None = None,
) -> None:
    """Cut, send, and pack what is its own.

    Args:
        model: the file.
        links: to the workers.
        weights: the root's own.
        progress: told of bytes that were cut.
        supply: which pieces each rank wants; without it all want all.

    Raises:
        EngineError: a worker that is gone, a value that is not finite.
    """
    supply = supply or Supply(model, weights.plan, {}, 1)
    ranks, done, total = sorted(supply.wanted), 0, supply.total_bytes
    for spec in model.specs if total else ():
        raw = model.raw(spec)
        for indices in zip_longest(*(supply.layouts[rank].of_tensor(spec) for rank in ranks)):
            cuts = {
                rank: (index, _cut(raw, supply, rank, index))
                for rank, index in zip(ranks, indices, strict=True)
                if index is not None and contains(supply.wanted[rank], index)
            }
            if cuts:
                supply.hash({rank: cuts[rank] for rank in cuts if rank})
                _send_and_pack(links, weights, supply, cuts)
                supply.settle()
                done += sum(part.nbytes for _, part in cuts.values())
                drop_pages(raw)  # all of it: the kernel maps a few pages around each that is read
                progress(done, total)
    if 0 in supply.wanted:
        weights.finish()


def _cut(raw: Bytes, supply: Supply, rank: int, index: int) -> Bytes:
    """A piece as it is sent, in one stretch; the root's own where it lies."""
    piece = supply.layouts[rank].pieces[index]
    part = cut(raw, piece.spec, supply.plan, rank, piece.span)
    return np.ascontiguousarray(part) if rank else part


def _send_and_pack(
    links: Links, weights: RankWeights, supply: Supply, cuts: dict[int, tuple[int, Bytes]]
) -> None:
    outgoing = {rank: part for rank, (_, part) in cuts.items() if rank}
    if 0 not in cuts:
        links.exchange(LOAD, outgoing, {})
        return
    index, part = cuts[0]
    piece = supply.layouts[0].pieces[index]
    if not outgoing:
        weights.add(piece.spec, part, piece.span.start)
        return
    with weights.adding(piece.spec, part, piece.span.start):
        links.exchange(LOAD, outgoing, {})
