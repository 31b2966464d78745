"""How the weights get to where they are used: both ends of the way from the file to the ranks.

The root reads the file once, in order. Each tensor goes out in rounds of one piece a rank, to all
workers at the same time, while the root packs its own piece. A worker packs a piece while the next
one comes in: what has arrived waits in the socket. A piece is small, so that it is packed out of
the cache that it was received into, and that nobody ever holds a second copy of anything large.

A worker on the root's own machine that can open the very file maps it and packs its part from
there: nothing is sent to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from dllama_engine.arrays import Bytes
from dllama_engine.errors import EngineError, ModelFileError
from dllama_engine.formats.model_file import FileIdentity, ModelFile, tensor_specs
from dllama_engine.formats.quants import row_bytes
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.sharding.plan import ShardPlan, Span
from dllama_engine.sharding.slices import slice_nbytes, tensor_spans
from dllama_engine.system.mapped_pages import drop_pages
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.frames import LOAD
from dllama_engine.wire.links import Links

PIECE_BYTES = 1 << 21
LONE_PIECE_BYTES = 1 << 23  # where nobody waits for the end of a piece but threads for their next
_ROWS = 64  # pieces are multiples of it where they can be: whole groups of rows for every thread

Progress = Callable[[int, int], None]  # bytes done, of all


def pieces(plan: ShardPlan, spec: TensorSpec, rank: int) -> Iterator[Span]:
    """Rows of the rank's slice that travel together, counted from the slice's first row."""
    spans = tensor_spans(plan, spec, rank)
    if spans is None or spec.name == "embedding":
        return
    rows, cols = spans
    piece_bytes = PIECE_BYTES if plan.world_size > 1 else LONE_PIECE_BYTES
    fitting = piece_bytes // row_bytes(spec.float_type, cols.size)
    step = max(1, fitting - fitting % _ROWS if fitting > _ROWS else fitting)
    for start in range(0, rows.size, step):
        yield Span(start, min(start + step, rows.size))


def send_weights(
    model: ModelFile,
    links: Links,
    weights: RankWeights,
    progress: Progress = lambda *_: None,
    *,
    mapping: Collection[int] = (),
) -> None:
    """The root's end: cut, send, and pack what is its own.

    Args:
        model: the file.
        links: to the workers.
        weights: the root's own.
        progress: told of bytes that were cut.
        mapping: ranks that read the file themselves and are sent nothing.

    Raises:
        EngineError: a worker that is gone, a value that is not finite.
    """
    plan = weights.plan
    specs = [spec for spec in model.specs if spec.name != "embedding"]
    ranks = [rank for rank in range(plan.world_size) if rank not in mapping]
    done, total = 0, sum(slice_nbytes(plan, spec, rank) for spec in specs for rank in ranks)
    for spec in specs:
        raw = model.raw(spec)
        for spans in zip_longest(*(pieces(plan, spec, rank) for rank in ranks)):
            cut = {
                rank: (span, _cut(raw, spec, plan, rank, span))
                for rank, span in zip(ranks, spans, strict=True)
                if span is not None
            }
            _send_and_pack(links, weights, spec, cut)
            done += sum(part.nbytes for _, part in cut.values())
            drop_pages(raw)  # all of it: the kernel maps a few pages around each one that is read
            progress(done, total)
    weights.finish()


def _send_and_pack(
    links: Links, weights: RankWeights, spec: TensorSpec, cut: dict[int, tuple[Span, Bytes]]
) -> None:
    outgoing = {rank: np.ascontiguousarray(part) for rank, (_, part) in cut.items() if rank}
    if 0 not in cut:
        links.exchange(LOAD, outgoing, {})
        return
    span, part = cut[0]
    if not outgoing:
        weights.add(spec, part, span.start)
        return
    with weights.adding(spec, part, span.start):
        links.exchange(LOAD, outgoing, {})


def _cut(raw: Bytes, spec: TensorSpec, plan: ShardPlan, rank: int, span: Span) -> Bytes:
    """A piece of the rank's slice, a view of the whole tensor (rows, row_bytes)."""
    spans = tensor_spans(plan, spec, rank)
    assert spans is not None
    rows, cols = spans
    first, last = (row_bytes(spec.float_type, n) for n in (cols.start, cols.stop))
    return raw[rows.start + span.start : rows.start + span.stop, first:last]


def open_same(file: FileIdentity | None) -> ModelFile | None:
    """The root's file, if this process can open it and finds it the same, in the same state."""
    if file is None:
        return None
    try:
        model = ModelFile.open(Path(file.path))
    except EngineError:
        return None
    if model.identity == file:
        return model
    model.close()
    return None


def map_weights(
    model: ModelFile, weights: RankWeights, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """A worker's end on the root's machine: its pieces from the file itself.

    `meanwhile` is called after each piece.

    Raises:
        EngineError: a value that is not finite.
    """
    for spec in model.specs:
        raw = model.raw(spec)
        for span in pieces(weights.plan, spec, weights.rank):
            weights.add(spec, _cut(raw, spec, weights.plan, weights.rank, span), span.start)
            drop_pages(raw)
            meanwhile()
    weights.finish()


def _slice_rows(plan: ShardPlan, spec: TensorSpec, rank: int) -> int:
    spans = tensor_spans(plan, spec, rank)
    return 0 if spans is None else spans[0].size


def receive_weights(links: Links, weights: RankWeights) -> None:
    """A worker's end: its pieces as they come, in the order of the file.

    Raises:
        EngineError: the root is gone, a value that is not finite.
    """
    plan, rank = weights.plan, weights.rank
    buffer = np.empty(PIECE_BYTES, np.uint8)
    for spec in tensor_specs(plan.config):
        for span in pieces(plan, spec, rank):
            size = slice_nbytes(plan, spec, rank) * span.size // _slice_rows(plan, spec, rank)
            if size > buffer.nbytes:  # one row is longer than a piece
                buffer = np.empty(size, np.uint8)
            raw = buffer[:size].reshape(span.size, -1)
            links.exchange(LOAD, {}, {0: raw})
            try:
                weights.add(spec, raw, span.start)
            except ModelFileError as error:  # the root has read the same: was it sent the same?
                raise links.explain(error, LOAD) from None
    weights.finish()
