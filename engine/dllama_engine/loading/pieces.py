"""In which pieces a rank's slices travel, are kept and are checked: closed forms of the plan.

Root and worker compute the same pieces from the same plan. Knows no file, no socket.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from dllama_engine.arrays import Bytes
from dllama_engine.formats.model_file import tensor_specs
from dllama_engine.formats.quants import row_bytes
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.sharding.plan import ShardPlan, Span
from dllama_engine.sharding.slices import tensor_spans

PIECE_BYTES = 1 << 21
LONE_PIECE_BYTES = 1 << 23  # where nobody waits for the end of a piece but threads for their next
_ROWS = 64  # pieces are multiples of it where they can be: whole groups of rows for every thread

Ranges = Sequence[tuple[int, int]]  # of pieces, [first, stop), in order


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


def cut(raw: Bytes, spec: TensorSpec, plan: ShardPlan, rank: int, span: Span) -> Bytes:
    """A piece of the rank's slice, a view of the whole tensor (rows, row_bytes)."""
    spans = tensor_spans(plan, spec, rank)
    assert spans is not None
    rows, cols = spans
    first, last = (row_bytes(spec.float_type, n) for n in (cols.start, cols.stop))
    return raw[rows.start + span.start : rows.start + span.stop, first:last]


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece: which rows of a tensor's slice, as uint8 (span.size, row_bytes)."""

    spec: TensorSpec
    span: Span
    row_bytes: int

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.span.size * self.row_bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """All pieces of one rank, in the order of the file.

    Attributes:
        pieces: what travels, is kept, and has a digest of its own.
        key: names this cutting of this shape of model, whatever its weights are.
        ends: bytes of all pieces up to and with each one.
        tensors: by a tensor's index, which of the pieces are its.
    """

    pieces: tuple[Piece, ...]
    key: str
    ends: tuple[int, ...]
    tensors: Mapping[int, range]

    @classmethod
    def of(cls, plan: ShardPlan, rank: int) -> Layout:
        """By the plan alone."""
        found: list[Piece] = []
        tensors, described = {}, hashlib.sha256()
        for spec in tensor_specs(plan.config):
            first = len(found)
            spans = tensor_spans(plan, spec, rank)
            for span in pieces(plan, spec, rank):
                assert spans is not None
                width = row_bytes(spec.float_type, spans[1].size)
                found.append(Piece(spec, span, width))
                where = spans[0].start + span.start, span.size, spans[1].start, width
                described.update(f"{spec.label}|{spec.float_type.label}|{where}\n".encode())
            tensors[spec.index] = range(first, len(found))
        ends = tuple(accumulate(piece.nbytes for piece in found))
        return cls(tuple(found), described.hexdigest()[:24], ends, tensors)

    def __len__(self) -> int:
        return len(self.pieces)

    def of_tensor(self, spec: TensorSpec) -> range:
        """Which pieces are a tensor's."""
        return self.tensors[spec.index]

    @property
    def nbytes(self) -> int:
        """Of all pieces."""
        return self.ends[-1] if self.ends else 0

    def bytes_of(self, ranges: Ranges) -> int:
        """Of the pieces in some ranges."""
        ends = (0, *self.ends)
        return sum(ends[stop] - ends[first] for first, stop in ranges)


def contains(ranges: Ranges, index: int) -> bool:
    """Whether a piece is in one of the ranges.

    >>> [contains([(0, 2), (5, 6)], i) for i in range(7)]
    [True, True, False, False, False, True, False]
    """
    at = bisect_right(ranges, index, key=lambda of: of[0]) - 1
    return at >= 0 and index < ranges[at][1]


def in_ranges(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending indices, neighbours together.

    >>> in_ranges([0, 1, 2, 5, 7, 8])
    [(0, 3), (5, 6), (7, 9)]
    """
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found


def digest_of(digests: Sequence[bytes]) -> str:
    """One digest for pieces with these, in order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()
