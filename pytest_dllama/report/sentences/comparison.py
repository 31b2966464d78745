"""Model against model, and one node count."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.figures.quantities import Quantity
from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class Ahead(Sentence):
    """One model is better at these node counts, by a range of factors or percents."""

    quantity: Quantity
    winner: str
    loser: str
    nodes: tuple[int, ...]
    everywhere: bool  # at every node count compared, of two or more
    low: float  # factor of at least 1, percent below the loser, or points of a share
    high: float


@dataclass(frozen=True, slots=True)
class Level(Sentence):
    """No difference beyond the spread of the repeats, or equal figures."""

    quantity: Quantity
    first: str
    other: str
    nodes: tuple[int, ...]
    equal: bool
    more: tuple[str, ...] = ()  # others of which the same is to be said


@dataclass(frozen=True, slots=True)
class Incomparable(Sentence):
    """A value is missing or does not count."""

    quantity: Quantity
    first: str
    other: str
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelValue:
    """A model's value at its best node count."""

    model: str
    value: float
    tied_with: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BestNodes(Sentence):
    """The node count at which these models do best."""

    quantity: Quantity
    nodes: int
    items: tuple[ModelValue, ...]
    common: bool  # all models of the run, of two or more


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model's change over one step."""

    model: str
    percent: float
    tied: bool
    better: bool


@dataclass(frozen=True, slots=True)
class StepChange(Sentence):
    """What going from one node count to the next does."""

    quantity: Quantity
    start: int
    end: int
    items: tuple[ModelChange, ...]
    most: str | None  # the model that clearly changes more, all in one direction


@dataclass(frozen=True, slots=True)
class Efficiency(Sentence):
    """Speed per node, against the smallest node count."""

    model: str
    base: int
    nodes: int
    share: float


@dataclass(frozen=True, slots=True)
class AheadByMetric(Sentence):
    """One model against another at one node count, over the speed metrics."""

    winner: str
    loser: str
    items: tuple[tuple[Quantity, float], ...]  # factor of at least 1 each


@dataclass(frozen=True, slots=True)
class LevelByMetric(Sentence):
    """Metrics in which two models cannot be told apart at one node count."""

    first: str
    other: str
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class FastestModel(Sentence):
    """The fastest model at one node count, in tokens/s."""

    nodes: int
    model: str
    value: float
    tied_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FastestNodesHere(Sentence):
    """The models whose best node count this is."""

    nodes: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BelowBest(Sentence):
    """How far a model is from its best node count here."""

    model: str
    nodes: int
    best: int
    percent: float


@dataclass(frozen=True, slots=True)
class NothingCounts(Sentence):
    """No figure of this node count counts."""

    nodes: int
