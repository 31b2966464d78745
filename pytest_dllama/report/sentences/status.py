"""What was measured, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class Coverage(Sentence):
    """How many cells were planned, measured, failed and skipped."""

    models: tuple[str, ...]
    workloads: int  # what a request is, of all models together
    node_counts: tuple[int, ...]
    cells: int
    measured: int
    failed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class RepeatRule(Sentence):
    """How repeats are condensed, and what that says about differences."""

    repeats: int
    warmup: int


@dataclass(frozen=True, slots=True)
class SessionLengths(Sentence):
    """How many requests the sessions of pairs had; a session's value is their median."""

    groups: tuple[tuple[int, tuple[str, ...]], ...]  # (requests, ids of cells), ascending


@dataclass(frozen=True, slots=True)
class SharedCores(Sentence):
    """Local processes that had to share cores: their node counts say nothing of real ones."""

    threads: int
    cores: int


@dataclass(frozen=True, slots=True)
class FiguresDoubted(Sentence):
    """Imported figures of which notes say that something is wrong with them."""

    cells: int  # of which a note tells
    total: int
    notes: int


@dataclass(frozen=True, slots=True)
class CellFailed(Sentence):
    """A cell without figures, and why."""

    model: str
    nodes: int
    skipped: bool
    error: str
    others: int = 0  # cells that failed alike, but for the figures in the error


@dataclass(frozen=True, slots=True)
class CellRetried(Sentence):
    """A cell that was measured anew after a rank was lost."""

    model: str
    nodes: int
    reason: str


@dataclass(frozen=True, slots=True)
class CellExcluded(Sentence):
    """A measured cell whose speed does not count."""

    model: str
    nodes: int
    wrong_output: bool  # else: judged INVALID or ERROR
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutputCounts(Sentence):
    """Cells by the state of their output."""

    cells: int
    oracle: int
    identical: int
    tie: int
    different: int
    unchecked: int
    engine_fault: int = 0


@dataclass(frozen=True, slots=True)
class TieExplained(Sentence):
    """Where a cell parts from the oracle within the error of quantized sums."""

    model: str
    nodes: int
    position: int  # from 1
    oracle_piece: str
    cell_piece: str
    margin: float
    tolerance: float
    allowed: bool


@dataclass(frozen=True, slots=True)
class ThresholdCounts(Sentence):
    """Thresholds kept, of all."""

    passed: int
    total: int


@dataclass(frozen=True, slots=True)
class ThresholdMissed(Sentence):
    """One threshold that was not kept."""

    model: str
    nodes: int
    metric: str
    value: float | None
    limit: float
    upper: bool


@dataclass(frozen=True, slots=True)
class WorkerCountWrong(Sentence):
    """The command names another number of workers than the node count says."""

    model: str
    nodes: int
    workers: int
