"""What may be said of models and node counts: rules from figures to sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from pytest_dllama.report.figures.compare import (
    Best,
    Difference,
    Spread,
    best,
    compare_cells,
    difference,
    series,
)
from pytest_dllama.report.figures.quantities import (
    MEMORY,
    SPEED,
    TOKENS_PER_S,
    WORKER_MEMORY,
    Quantity,
)
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.comparison import (
    Ahead,
    AheadByMetric,
    BelowBest,
    BestNodes,
    FastestModel,
    FastestNodesHere,
    Incomparable,
    Level,
    LevelByMetric,
    ModelChange,
    ModelValue,
    NothingCounts,
    StepChange,
)


def comparison(view: RunView, quantity: Quantity) -> list[Sentence]:
    """The first model against each other one, then each model against itself."""
    said: list[Sentence] = []
    for other in view.models[1:]:
        said += _pair(view, quantity, view.models[0], other)
    said = _once(said)
    if quantity in SPEED:
        said += best_nodes(view, quantity)
        said += [step for step in steps(view, quantity) if _worsens(step)]
    return said


def _once(said: list[Sentence]) -> list[Sentence]:
    """With one sentence for all others that cannot be told from the first on the same nodes."""
    levels: dict[Level, list[str]] = {}
    for one in said:
        if isinstance(one, Level):
            levels.setdefault(replace(one, other=""), []).append(one.other)
    found: list[Sentence] = []
    for one in said:
        if not isinstance(one, Level):
            found.append(one)
        elif names := levels.pop(replace(one, other=""), None):  # where the first of them stood
            found.append(replace(one, more=tuple(names[1:])))
    return found


def _pair(view: RunView, quantity: Quantity, first: str, other: str) -> list[Sentence]:
    found = {
        nodes: compare_cells(quantity, view.cell(first, nodes), view.cell(other, nodes))
        for nodes in view.node_counts
    }
    known = {nodes: diff for nodes, diff in found.items() if diff is not None}
    said: list[Sentence] = []
    for winner, loser in ((first, other), (other, first)):
        ahead = {
            nodes: advantage(quantity, diff)
            for nodes, diff in known.items()
            if not diff.tied and (is_better(quantity, diff) == (winner == first))
        }
        if ahead:
            low, high = min(ahead.values()), max(ahead.values())
            everywhere = len(ahead) == len(known) > 1
            said.append(Ahead(quantity, winner, loser, tuple(ahead), everywhere, low, high))
    for equal in (False, True):
        level = tuple(
            nodes
            for nodes, diff in known.items()
            if diff.tied and (diff.spread is not Spread.OVERLAP) == equal
        )
        if level:
            said.append(Level(quantity, first, other, level, equal))
    missing = tuple(n for n, diff in found.items() if diff is None and not _wireless(quantity, n))
    if missing:
        said.append(Incomparable(quantity, first, other, missing))
    return said


def _wireless(quantity: Quantity, nodes: int) -> bool:
    """One node has neither workers nor a network: nothing is missing there."""
    return nodes == 1 and (quantity is WORKER_MEMORY or quantity not in (*SPEED, *MEMORY))


def is_better(quantity: Quantity, diff: Difference) -> bool:
    """Whether the first of the two is on the quantity's better side."""
    return (diff.first > diff.base) == (quantity.better == "higher")


def advantage(quantity: Quantity, diff: Difference) -> float:
    """How far the better is ahead: a factor of at least 1, percent below, or points of a share."""
    low, high = sorted((diff.first, diff.base))
    if quantity.unit == "share":
        return (high - low) * 100
    if quantity.as_factor:
        return high / low if low > 0 else float("inf")
    return (high - low) / high * 100 if high else 0.0


def best_nodes(view: RunView, quantity: Quantity) -> list[Sentence]:
    """Where each model does best; one sentence if it is the same node count for all."""
    found = best_of_models(view, quantity)
    if len(view.node_counts) < 2 or not found:
        return []
    items = {
        model: ModelValue(model, top.value.value, top.tied_with) for model, top in found.items()
    }
    nodes = {top.nodes for top in found.values()}
    if len(nodes) == 1 and len(view.models) == len(found) > 1:
        return [BestNodes(quantity, nodes.pop(), tuple(items.values()), common=True)]
    return [
        BestNodes(quantity, top.nodes, (items[model],), common=False)
        for model, top in found.items()
    ]


def best_of_models(view: RunView, quantity: Quantity) -> dict[str, Best]:
    """Best node count of every model that was measured on two or more."""
    found: dict[str, Best] = {}
    for model in view.models:
        values = series(view, model, quantity)
        top = best(values, quantity)
        if top is not None and len(values) > 1:
            found[model] = top
    return found


def steps(view: RunView, quantity: Quantity) -> list[StepChange]:
    """Each step to the next node count: every model's change, and whose is larger."""
    said = []
    for start, end in pairwise(view.node_counts):
        diffs = {
            model: diff
            for model in view.models
            if (diff := _step(view, model, quantity, start, end)) is not None
            and diff.percent is not None
        }
        if diffs:
            items = tuple(_change(quantity, model, diff) for model, diff in diffs.items())
            said.append(StepChange(quantity, start, end, items, _most(items, diffs)))
    return said


def _step(view: RunView, model: str, quantity: Quantity, start: int, end: int) -> Difference | None:
    return compare_cells(quantity, view.cell(model, end), view.cell(model, start))


def _change(quantity: Quantity, model: str, diff: Difference) -> ModelChange:
    percent = diff.percent if diff.percent is not None else 0.0
    return ModelChange(model, percent, diff.tied, is_better(quantity, diff))


def _most(items: tuple[ModelChange, ...], diffs: dict[str, Difference]) -> str | None:
    """The model that changes most, if all move one way and its lead is beyond the spread."""
    directions = {item.percent > 0 for item in items}
    if len(items) < 2 or len(directions) > 1 or any(item.tied for item in items):
        return None
    top, second = sorted(items, key=lambda item: -abs(item.percent))[:2]
    if abs(abs(top.percent) - abs(second.percent)) < 0.1:  # as printed, the same
        return None
    a, b = diffs[top.model], diffs[second.model]
    known = Spread.UNKNOWN not in (a.spread, b.spread)
    overlap = a.low <= b.high and b.low <= a.high
    return None if known and overlap else top.model


def _worsens(step: StepChange) -> bool:
    return any(not item.better and not item.tied for item in step.items)


def at_node_count(view: RunView, nodes: int) -> list[Sentence]:
    """Model against model at one node count."""
    said: list[Sentence] = []
    for other in view.models[1:]:
        said += _by_metric(view, nodes, view.models[0], other)
    return said


def _by_metric(view: RunView, nodes: int, first: str, other: str) -> Iterator[Sentence]:
    found = [
        (quantity, diff)
        for quantity in SPEED
        if (diff := compare_cells(quantity, view.cell(first, nodes), view.cell(other, nodes)))
    ]
    for winner, loser in ((first, other), (other, first)):
        items = tuple(
            (quantity, advantage(quantity, diff))
            for quantity, diff in found
            if not diff.tied and is_better(quantity, diff) == (winner == first)
        )
        if items:
            yield AheadByMetric(winner, loser, items)
    if level := tuple(quantity for quantity, diff in found if diff.tied):
        yield LevelByMetric(first, other, level)


def conclusion(view: RunView, nodes: int) -> list[Sentence]:
    """What one node count comes to: fastest model, whose best it is, who is below its best."""
    values = {
        model: value
        for model in view.models
        for count, value in series(view, model, TOKENS_PER_S)
        if count == nodes
    }
    if not values:
        return [NothingCounts(nodes)]
    said: list[Sentence] = []
    if len(values) > 1:
        model = max(values, key=lambda name: values[name].value)
        tied = tuple(
            name
            for name, value in values.items()
            if name != model and difference(value, values[model]).tied
        )
        said.append(FastestModel(nodes, model, values[model].value, tied))
    tops = {
        model: top for model, top in best_of_models(view, TOKENS_PER_S).items() if model in values
    }
    if here := tuple(model for model, top in tops.items() if top.nodes == nodes):
        said.append(FastestNodesHere(nodes, here))
    for model, top in tops.items():
        diff = difference(values[model], top.value)
        if top.nodes != nodes and not diff.tied and diff.percent is not None:
            said.append(BelowBest(model, nodes, top.nodes, diff.percent))
    return said
