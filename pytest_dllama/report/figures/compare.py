"""Two estimates against each other: how far apart, and whether the repeats can tell.

The rule is plain: if the ranges (minimum to maximum) of the repeats overlap, no difference is
claimed. With a single repeat the spread is unknown: the figures are stated, and that too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pytest_dllama.record.cell import CellRecord, Estimate
from pytest_dllama.report.figures.quantities import Quantity
from pytest_dllama.report.figures.view import RunView, counts


class Spread(Enum):
    """What the repeats say about a difference."""

    APART = "apart"
    OVERLAP = "overlap"
    UNKNOWN = "unknown"  # a single repeat on either side


@dataclass(frozen=True, slots=True)
class Difference:
    """`first` against `base`; percent of `base`."""

    first: float
    base: float
    spread: Spread
    low: float  # the ratio first / base can be, by the ranges of both
    high: float

    @property
    def absolute(self) -> float:
        """First minus base."""
        return self.first - self.base

    @property
    def percent(self) -> float | None:
        """The difference in percent of the base; None if the base is 0."""
        return self.absolute / self.base * 100 if self.base else None

    @property
    def tied(self) -> bool:
        """No difference beyond the spread of the repeats, or none at all."""
        return self.spread is Spread.OVERLAP or self.first == self.base


def difference(first: Estimate, base: Estimate, *, exact: bool = False) -> Difference:
    """Compare two estimates; `exact` figures differ by any amount."""
    ranges = (
        _ratio(first.minimum, base.maximum, 0.0),
        _ratio(first.maximum, base.minimum, float("inf")),
    )
    return Difference(first.value, base.value, _spread(first, base, exact), *ranges)


def compare_cells(
    quantity: Quantity, first: CellRecord | None, base: CellRecord | None
) -> Difference | None:
    """The difference of two cells, or None if either has no value that counts."""
    a, b = quantity.of(first), quantity.of(base)
    if a is None or b is None or not (counts(first) and counts(base)):
        return None
    return difference(a, b, exact=quantity.exact)


def series(view: RunView, model: str, quantity: Quantity) -> tuple[tuple[int, Estimate], ...]:
    """(nodes, value) of every cell of the model that counts, by node count."""
    found = ((nodes, view.cell(model, nodes)) for nodes in view.node_counts)
    return tuple(
        (nodes, value)
        for nodes, cell in found
        if counts(cell) and (value := quantity.of(cell)) is not None
    )


@dataclass(frozen=True, slots=True)
class Best:
    """The node count to choose: the fewest nodes that nothing beats beyond the spread."""

    nodes: int
    value: Estimate
    tied_with: tuple[int, ...]  # other node counts that the repeats cannot tell from it


def best(values: tuple[tuple[int, Estimate], ...], quantity: Quantity) -> Best | None:
    """The best of a series, ties going to fewer nodes; None for an empty series."""
    if not values:
        return None
    sign = 1 if quantity.better == "higher" else -1
    _, top = max(values, key=lambda item: sign * item[1].value)
    tied = [
        (nodes, value)
        for nodes, value in values
        if difference(value, top, exact=quantity.exact).tied
    ]
    nodes, value = tied[0]
    return Best(nodes, value, tuple(other for other, _ in tied[1:]))


def _spread(first: Estimate, base: Estimate, exact: bool) -> Spread:
    if exact:
        return Spread.APART
    if min(first.n, base.n) < 2:
        return Spread.UNKNOWN
    apart = first.minimum > base.maximum or base.minimum > first.maximum
    return Spread.APART if apart else Spread.OVERLAP


def _ratio(numerator: float, denominator: float, default: float) -> float:
    return numerator / denominator if denominator else default
