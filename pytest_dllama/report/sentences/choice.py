"""Which model and how many nodes for which case, and what to check."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class LighterModel(Sentence):
    """A model to take where speed, memory or the network is scarce: how much it saves."""

    model: str
    other: str
    speed: float | None  # times as fast, at both best node counts
    memory: float | None  # share of the other's memory a node
    traffic: float | None  # share of the other's traffic a token


@dataclass(frozen=True, slots=True)
class LargerModel(Sentence):
    """A model to take where larger weights are worth their time."""

    model: str
    other: str
    size: float  # times the weights
    time: float  # times the time a token


@dataclass(frozen=True, slots=True)
class SyncGrows(Sentence):
    """The share of a token spent exchanging, from the fewest to the most nodes."""

    model: str
    start: int
    end: int
    share_at_start: float
    share_at_end: float


@dataclass(frozen=True, slots=True)
class LinkUse(Sentence):
    """What a token carries against what the slowest link delivers."""

    cell: str
    token_bytes: float
    mbps: float
    transfer_ms: float
    tpot_ms: float


@dataclass(frozen=True, slots=True)
class WatchLatency(Sentence):
    """The figure to watch: P95 and P99 of the dearest operation."""

    cell: str
    op: str
    avg_ms: float
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class CheckMemory(Sentence):
    """Memory that a node must have for a model on its best node count."""

    model: str
    nodes: int
    need_bytes: float
    on_root: bool


@dataclass(frozen=True, slots=True)
class CheckThreads(Sentence):
    """Threads a node used."""

    threads: int


@dataclass(frozen=True, slots=True)
class CheckNetwork(Sentence):
    """A node count at which exchange takes more than half of a token."""

    cell: str
    share: float


@dataclass(frozen=True, slots=True)
class CheckNodes(Sentence):
    """The node count to configure."""

    model: str
    nodes: int


@dataclass(frozen=True, slots=True)
class CheckBalance(Sentence):
    """Root and worker differ much in memory: the root may need the larger board."""

    model: str
    nodes: int
    percent: float  # root above worker
