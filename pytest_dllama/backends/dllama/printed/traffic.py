"""Closed forms: what a build of the real dllama moves over the root's links, and what it charges.

Four ways of synchronizing are in use. With n nodes, L layers, dim, V vocabulary, b(x) the bytes of
x numbers in the buffer type (q80: x / 32 * 34, f32: 4 * x), one row (a token of the prompt or a
decoded one) makes 2L syncs of a vector of dim, one of the logits, and gets x from the root:

    build            root sends                           root receives
    all-to-all       (n-1) (4 dim + 2L b(dim))            (n-1) (2L b(dim) + 4 V/n)
    star slices      (n-1) (4 dim + 2L n b(dim))          (n-1) (2L b(dim) + 4 V/n)
    star all-reduce  (n-1) (4 dim + 2L b(dim) + 4 V)      (n-1) (2L b(dim) + 4 V)
    ring all-reduce  (n-1) (4 dim + 2 (2L b(dim) + 4 V)/n)  (n-1) 2 (2L b(dim) + 4 V)/n

All-to-all is upstream; the others are generations of the fork. "Star slices" is the build behind
the hand-written scaling report: (n-1)(n+1) vectors a sync, which is why eight nodes collapse.
Besides, every forward pass begins with a control packet of 8 bytes to each worker.

The fork's monitor charges something else (`monitor_figures`). Knows nothing of text or events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

Q80_BLOCK, Q80_BLOCK_BYTES = 32, 34
CONTROL_BYTES = 8  # position and batch size, to each worker, once a forward pass
MAX_THREADS = 256  # no board of today has more; bounds the search
_TWO_DECIMALS = 0.00501  # half of the last printed digit of "%.2f", and float noise


class Collective(StrEnum):
    """How the nodes of a build exchange their partial sums."""

    ALL_TO_ALL = "all-to-all"
    STAR_SLICES = "star (slices gathered, whole buffer sent back)"
    STAR_ALL_REDUCE = "star all-reduce"
    RING_ALL_REDUCE = "ring all-reduce"


FORK_COLLECTIVES = (
    Collective.STAR_SLICES,
    Collective.STAR_ALL_REDUCE,
    Collective.RING_ALL_REDUCE,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The figures of a model that its traffic depends on."""

    dim: int
    n_layers: int
    vocab_size: int

    @property
    def n_slice_syncs(self) -> int:
        """Syncs of a vector of `dim` in a row: after attention and after the feed-forward."""
        return 2 * self.n_layers


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes over all of the root's links together."""

    sent_bytes: int
    recv_bytes: int

    @property
    def bytes(self) -> int:
        """Both directions."""
        return self.sent_bytes + self.recv_bytes


@dataclass(frozen=True, slots=True)
class Build:
    """What decides the bytes: the collective and the type of the exchanged buffers."""

    collective: Collective
    buffer_float_type: str  # "q80" or "f32"


def buffer_bytes(n: int, buffer_float_type: str) -> int:
    """Bytes of `n` numbers.

    >>> buffer_bytes(5120, "q80"), buffer_bytes(768, "f32")
    (5440, 3072)
    """
    return n // Q80_BLOCK * Q80_BLOCK_BYTES if buffer_float_type == "q80" else 4 * n


def row_traffic(shape: Shape, n_nodes: int, build: Build) -> Traffic:
    """One row without its pass's control packets, by the table above."""
    peers = n_nodes - 1
    slices = shape.n_slice_syncs * buffer_bytes(shape.dim, build.buffer_float_type)
    root_sync, logits = 4 * shape.dim, 4 * shape.vocab_size
    match build.collective:
        case Collective.ALL_TO_ALL:
            return Traffic(peers * (root_sync + slices), peers * slices + peers * logits // n_nodes)
        case Collective.STAR_SLICES:
            return Traffic(
                peers * (root_sync + n_nodes * slices), peers * slices + peers * logits // n_nodes
            )
        case Collective.STAR_ALL_REDUCE:
            return Traffic(peers * (root_sync + slices + logits), peers * (slices + logits))
        case Collective.RING_ALL_REDUCE:
            around = 2 * peers * (slices + logits) // n_nodes
            return Traffic(peers * root_sync + around, around)


def pass_traffic(shape: Shape, n_nodes: int, build: Build, rows: int) -> Traffic:
    """One forward pass of `rows` rows: a prefill batch, or one decoded token."""
    row = row_traffic(shape, n_nodes, build)
    control = (n_nodes - 1) * CONTROL_BYTES
    return Traffic(rows * row.sent_bytes + control, rows * row.recv_bytes)


def collectives_per_row(shape: Shape) -> int:
    """Synchronizations of one row: x, 2L slices, the logits."""
    return shape.n_slice_syncs + 2


@dataclass(frozen=True, slots=True)
class MonitorFigures:
    """What the fork's network report adds up; not what crossed a wire."""

    operations: int
    bytes: int


def monitor_figures(
    shape: Shape, n_nodes: int, build: Build, n_threads: int, rows: Sequence[int]
) -> MonitorFigures:
    """The operations and bytes that the fork's network report prints.

    Every thread records each sync, each row of a prefill batch is charged as the whole batch, and
    the whole buffer is charged whatever moved; reads are recorded besides.

    Args:
        shape: the model.
        n_nodes: nodes with the root.
        build: the collective and the buffer type.
        n_threads: threads of the root.
        rows: rows of each forward pass: the prefill batches, then a 1 for each decoded token.
    """
    n_rows, charged_rows = sum(rows), sum(n * n for n in rows)
    peers, logits = n_nodes - 1, 4 * shape.vocab_size
    vector = buffer_bytes(shape.dim, build.buffer_float_type)
    if build.collective is Collective.STAR_SLICES:
        buffer, reads = n_nodes * vector, peers
        read_bytes = peers * (shape.n_slice_syncs * vector + logits // n_nodes)
    elif build.collective is Collective.STAR_ALL_REDUCE:
        buffer, reads = vector, 1
        read_bytes = peers * (shape.n_slice_syncs * vector + logits)
    else:
        buffer, reads = vector, 2 * peers
        read_bytes = 2 * peers * (shape.n_slice_syncs * vector + logits) // n_nodes
    synced = shape.n_slice_syncs * buffer + 4 * shape.dim + logits
    return MonitorFigures(
        n_rows * (n_threads * (shape.n_slice_syncs + 2) + reads * (shape.n_slice_syncs + 1)),
        n_threads * charged_rows * synced + n_rows * read_bytes,
    )


@dataclass(frozen=True, slots=True)
class PrintedStep:
    """Bytes that dllama printed for one forward pass, in whole kB of 1024."""

    rows: int
    sent_kb: int
    recv_kb: int


def agrees(step: PrintedStep, traffic: Traffic) -> bool:
    """Whether a printed step is this traffic, to the kB that dllama cuts it to."""
    return (traffic.sent_bytes // 1024, traffic.recv_bytes // 1024) == (step.sent_kb, step.recv_kb)


def find_build(
    shape: Shape, n_nodes: int, steps: Sequence[PrintedStep], collectives: Iterable[Collective]
) -> Build | None:
    """The build whose closed form gives every printed step; None if there is none or no step."""
    found = [
        build
        for collective in collectives
        for build in (Build(collective, "q80"), Build(collective, "f32"))
        if steps
        and all(agrees(step, pass_traffic(shape, n_nodes, build, step.rows)) for step in steps)
    ]
    return found[0] if found else None


def find_threads(
    shape: Shape, n_nodes: int, build: Build, rows: Sequence[int], operations: int, total_mb: float
) -> int | None:
    """The root's threads that give the printed operations and MB (2^20); None if none does."""
    for n_threads in range(1, MAX_THREADS + 1):
        figures = monitor_figures(shape, n_nodes, build, n_threads, rows)
        if figures.operations == operations:
            is_same = abs(figures.bytes / 2**20 - total_mb) <= _TWO_DECIMALS
            return n_threads if is_same else None
        if figures.operations > operations:
            break
    return None
