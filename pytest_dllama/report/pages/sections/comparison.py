"""Models against each other, node counts against each other, and each node count by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.quantities import (
    LATENCY,
    MEMORY,
    NETWORK,
    SPEED,
    TOKENS_PER_S,
    TOTAL_BYTES,
    Quantity,
)
from pytest_dllama.report.figures.view import RunView, counts
from pytest_dllama.report.pages.blocks import (
    Block,
    Items,
    Listed,
    NodeCount,
    Piece,
    Strong,
    TableBlock,
    Words,
    analysis,
    heading,
    joined,
    label,
    said,
)
from pytest_dllama.report.rules import comparison, findings
from pytest_dllama.report.rules.resources import root_against_worker
from pytest_dllama.report.tables.columns import with_unit
from pytest_dllama.report.tables.comparison import comparison_table, efficiency_table, scaling_table
from pytest_dllama.report.tables.models import is_known
from pytest_dllama.report.text.numbers import MISSING


def models(view: RunView) -> Iterator[Block]:
    """The first model against each other one; nothing for a single model."""
    if len(view.models) < 2:
        return
    yield heading(2, "sections.comparison")
    yield said("text.percent_rule", model=view.models[0])
    known = [quantity for quantity in SPEED if is_known(view, quantity)]
    for number, quantity in enumerate(known, start=1):
        yield from compared(view, quantity, number)


def compared(view: RunView, quantity: Quantity, number: int | None = None) -> Iterator[Block]:
    """One quantity of all models, with what follows from it."""
    yield heading(3, f"quantities.{quantity.key}.heading", number)
    yield TableBlock(comparison_table(view, quantity))
    yield from analysis(comparison.comparison(view, quantity))


def node_counts(view: RunView) -> Iterator[Block]:
    """Each node count by itself: speed, memory, network, and the conclusion."""
    yield heading(2, "sections.nodes")
    tops = comparison.best_of_models(view, TOKENS_PER_S)
    for nodes in view.node_counts:
        cells = [(model, view.cell(model, nodes)) for model in view.models]
        best = tuple(model for model, top in tops.items() if top.nodes == nodes)
        if best:
            yield heading(3, "headings.nodes_best", nodes=NodeCount(nodes), models=Listed(best))
        else:
            yield heading(3, "headings.nodes", nodes=NodeCount(nodes))
        yield label("speed" if len(view.models) == 1 else "speeds")
        yield Items((*(_speed(*found) for found in cells), *comparison.at_node_count(view, nodes)))
        yield label("memory")
        yield Items(tuple(_memory(*found) for found in cells))
        yield label("network")
        yield Items(tuple(_network(*found, nodes) for found in cells))
        yield label("conclusion")
        yield Items(tuple(comparison.conclusion(view, nodes)))


def estimate(quantity: Quantity, cell: CellRecord | None) -> str:
    """The cell's value with its unit."""
    found = quantity.of(cell)
    return with_unit(found.value if found else None, quantity)


def _named(quantities: Sequence[Quantity], cell: CellRecord | None) -> list[Piece]:
    return [
        (Words(f"quantities.{quantity.key}.short"), " ", estimate(quantity, cell))
        for quantity in quantities
    ]


def _speed(model: str, cell: CellRecord | None) -> Piece:
    first, *rest = SPEED  # the first has its name in its unit
    left_out = cell is not None and cell.status == "ok" and not counts(cell)
    remark = (" ", Words("labels.not_counted")) if left_out else ""
    return (Strong(model), ": ", joined([estimate(first, cell), *_named(rest, cell)]), remark)


def _memory(model: str, cell: CellRecord | None) -> Piece:
    balance = root_against_worker(cell) if cell else None
    remark: Piece = (" (", balance, ")") if balance else ""
    return (Strong(model), ": ", joined(_named(MEMORY, cell)), remark)


def _network(model: str, cell: CellRecord | None, nodes: int) -> Piece:
    figures = Words("text.one_node") if nodes == 1 else joined(_named(NETWORK, cell))
    return (Strong(model), ": ", figures)


def scaling(view: RunView) -> Iterator[Block]:
    """From each node count to the next; nothing for a single one."""
    if len(view.node_counts) < 2:
        return
    yield heading(2, "sections.scaling")
    yield said("text.scaling")
    for quantity in (TOKENS_PER_S, TOTAL_BYTES, LATENCY):
        changes = scaling_table(view, quantity)
        if any(cell != MISSING for row in changes.rows for cell in row[1:]):
            yield heading(3, f"quantities.{quantity.key}.scaling")
            yield TableBlock(changes)
            yield from analysis(comparison.steps(view, quantity))
    if (efficiency := efficiency_table(view)) is not None:
        yield heading(3, "headings.efficiency")
        yield said("text.efficiency")
        yield TableBlock(efficiency)
        yield from analysis(findings.knees(view))
