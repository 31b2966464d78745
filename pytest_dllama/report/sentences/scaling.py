"""How it scales, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class Knee(Sentence):
    """Beyond this node count the model gets slower."""

    model: str
    nodes: int
    after: int
    percent: float
    at: float
    then: float


@dataclass(frozen=True, slots=True)
class NoKnee(Sentence):
    """The most nodes are the fastest."""

    model: str
    before: int
    nodes: int
    percent: float


@dataclass(frozen=True, slots=True)
class Plateau(Sentence):
    """More nodes change nothing that the repeats can show."""

    model: str
    nodes: int
    upto: int


@dataclass(frozen=True, slots=True)
class UseNodes(Sentence):
    """Recommend a node count."""

    model: str
    nodes: int
    value: float
    tied_with: tuple[int, ...]
    failed: bool  # its verdict is FAIL


@dataclass(frozen=True, slots=True)
class FewerNodes(Sentence):
    """A smaller cluster gives nearly the same speed."""

    model: str
    nodes: int
    best: int
    percent: float  # of the best speed


@dataclass(frozen=True, slots=True)
class AvoidNodes(Sentence):
    """More nodes than the best, and slower."""

    model: str
    nodes: int
    best: int
    percent: float


@dataclass(frozen=True, slots=True)
class FasterModel(Sentence):
    """Which model to take where speed is what matters."""

    model: str
    nodes: int
    value: float
    other: str
    other_nodes: int
    other_value: float
    factor: float


@dataclass(frozen=True, slots=True)
class ReduceSync(Sentence):
    """The collectives cost most where they hurt most."""

    model: str
    nodes: int
    share: float
    workloads: int = 1  # of the model of which the same is to be said
    upto: float | None = None  # the largest share of them


@dataclass(frozen=True, slots=True)
class CheckLinks(Sentence):
    """A cell whose latency scatters."""

    model: str
    nodes: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class FixOutput(Sentence):
    """Wrong output comes before any speed."""

    model: str
    nodes: int


@dataclass(frozen=True, slots=True)
class FixCell(Sentence):
    """A failed cell has to run first."""

    model: str
    nodes: int


@dataclass(frozen=True, slots=True)
class CheckOutput(Sentence):
    """Cells whose output nobody compared."""

    cells: int


@dataclass(frozen=True, slots=True)
class MoreRepeats(Sentence):
    """One repeat shows no spread."""

    repeats: int
