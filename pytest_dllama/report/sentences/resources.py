"""Memory and network."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.figures.quantities import Quantity
from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class MemoryRatio(Sentence):
    """One model's memory as a multiple of another's, by node count."""

    quantity: Quantity
    first: str
    other: str
    items: tuple[tuple[int, float], ...]  # (nodes, factor)


@dataclass(frozen=True, slots=True)
class RootAgainstWorker(Sentence):
    """How root and worker share the model."""

    model: str
    nodes: int
    root_bytes: float
    worker_bytes: float
    percent: float  # root above worker


@dataclass(frozen=True, slots=True)
class MemoryChange(Sentence):
    """A node's memory from the fewest to the most nodes."""

    quantity: Quantity
    model: str
    start: int
    end: int
    percent: float
    tied: bool


@dataclass(frozen=True, slots=True)
class LargestProcess:
    """The larger of root and worker: what a node must hold."""

    nodes: int
    peak_bytes: float
    on_root: bool


@dataclass(frozen=True, slots=True)
class MemoryNeed(Sentence):
    """The memory a node needs, by node count."""

    model: str
    items: tuple[LargestProcess, ...]


@dataclass(frozen=True, slots=True)
class MemoryMeasured(Sentence):
    """What the memory of a machine delivers."""

    hosts: tuple[str, ...]
    rates: tuple[tuple[int, float], ...]  # (threads, GB/s)
    cache_bytes: int | None
    disturbed: bool


@dataclass(frozen=True, slots=True)
class RooflineCached(Sentence):
    """Cells whose weights the caches can hold: memory sets them no limit."""

    model: str
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RooflineUnmeasured(Sentence):
    """A cell without a limit, for no memory could be measured."""

    model: str
    nodes: int
    detail: str


@dataclass(frozen=True, slots=True)
class TrafficGrowth(Sentence):
    """Total traffic from the fewest to the most nodes."""

    model: str
    start: int
    end: int
    factor: float
    nodes_factor: float


@dataclass(frozen=True, slots=True)
class SyncShares(Sentence):
    """Share of the time spent in collectives, by node count."""

    model: str
    items: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class WireChecked(Sentence):
    """Cells whose bytes equal the plan's closed form."""

    equal: int
    checked: int


@dataclass(frozen=True, slots=True)
class WireMismatch(Sentence):
    """A cell whose bytes do not."""

    model: str
    nodes: int
    counted: int
    expected: int


@dataclass(frozen=True, slots=True)
class VarianceSeen(Sentence):
    """Cells with P95 above twice the P50, and the worst of them."""

    cells: int
    judged: int
    model: str
    nodes: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class StepAttribution(Sentence):
    """Where the root's time of a step to more nodes went."""

    model: str
    start: int
    end: int
    compute_s: float
    sync_s: float


@dataclass(frozen=True, slots=True)
class OpGrowth(Sentence):
    """The operation that takes most time, before and after a step to more nodes."""

    model: str
    op: str
    start: int
    end: int
    start_ms: float
    end_ms: float
