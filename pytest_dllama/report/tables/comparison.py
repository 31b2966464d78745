"""Tables that compare: model against model, node count against node count, and what to choose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pytest_dllama.report.figures.compare import Difference, compare_cells
from pytest_dllama.report.figures.quantities import (
    BYTES_PER_TOKEN,
    RCT,
    TOKENS_PER_S,
    TPOT,
    TTFT,
    Quantity,
)
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.rules.findings import efficiency, largest_process
from pytest_dllama.report.rules.scenarios import all_scenarios
from pytest_dllama.report.tables.columns import (
    WITHIN_SPREAD,
    Column,
    Entry,
    Nodes,
    NodeStep,
    Starred,
    Table,
    Word,
    in_unit,
    shown,
    unit_of,
)
from pytest_dllama.report.tables.models import MODEL, NODES, header_unit, marked, value_of
from pytest_dllama.report.text.numbers import MISSING, number, percent, plain, share, signed, size


def comparison_table(view: RunView, quantity: Quantity) -> Table:
    """The first model against each other one, per node count."""
    values = [value_of(quantity, cell) for cell in view.ordered()]
    unit = unit_of(quantity, values)
    shown_unit = header_unit(quantity, unit)
    first, others = view.models[0], view.models[1:]
    rows: list[tuple[Entry, ...]] = []
    for nodes in view.node_counts:
        for other in others:
            a, b = view.cell(first, nodes), view.cell(other, nodes)
            diff = compare_cells(quantity, a, b)
            pair = tuple(marked(quantity, found, unit, values) for found in (a, b))
            named = (pair[0], other, pair[1]) if len(others) > 1 else pair
            rows.append((Nodes(nodes), *named, *_difference(quantity, diff, unit, values)))
    last = (Column("difference", unit="%p" if quantity.unit == "share" else ""), Column("percent"))
    if len(others) > 1:
        middle = (
            Column("of_model", first, shown_unit),
            Column("compared", numeric=False),
            Column("its_value", unit=shown_unit),
        )
        return Table((NODES, *middle, *last), tuple(rows))
    both = tuple(Column("of_model", model, shown_unit) for model in view.models)
    return Table((NODES, *both, *last), tuple(rows))


def _difference(
    quantity: Quantity, diff: Difference | None, unit: str, column: Sequence[float | None]
) -> tuple[str, str]:
    if diff is None:
        return MISSING, MISSING
    scaled = [in_unit(quantity, value, unit) for value in column]
    decimals = quantity.decimals if quantity.unit == "B" else quantity.shown_decimals(*scaled)
    text = signed(in_unit(quantity, diff.absolute, unit), decimals)
    if quantity.unit != "B":
        text = text.replace(",", "")
    return text, percent(diff.percent) + (f" {WITHIN_SPREAD}" if diff.tied else "")


def scaling_table(view: RunView, quantity: Quantity) -> Table:
    """Percent change from each node count to the next, a column for each model."""
    columns = (Column("step", numeric=False), *(Column("of_model", m) for m in view.models))
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            NodeStep(start, end),
            *(_change(view, model, quantity, start, end) for model in view.models),
        )
        for start, end in pairwise(view.node_counts)
    )
    return Table(columns, rows)


def _change(view: RunView, model: str, quantity: Quantity, start: int, end: int) -> str:
    diff = compare_cells(quantity, view.cell(model, end), view.cell(model, start))
    if diff is None:
        return MISSING
    return percent(diff.percent) + (f" {WITHIN_SPREAD}" if diff.tied else "")


def efficiency_table(view: RunView) -> Table | None:
    """Speed per node against the smallest node count of each model."""
    found = {(item.model, item.nodes): item for item in efficiency(view)}
    if not found:
        return None
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            Nodes(nodes),
            *(
                f"{number(found[model, nodes].share * 100, 1)}%"
                if (model, nodes) in found
                else MISSING
                for model in view.models
            ),
        )
        for nodes in view.node_counts[1:]
    )
    return Table((NODES, *(Column("of_model", model) for model in view.models)), rows)


def scenario_table(view: RunView) -> Table | None:
    """Each node count and model: how near its best, in how much memory, and what it suits."""
    found = [one for one in all_scenarios(view) if one.suits != "shared"]
    speeds = [one.tokens_per_s for one in found]
    decimals = TOKENS_PER_S.shown_decimals(*speeds)
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            Starred(Nodes(one.nodes)) if one.suits == "best" else Nodes(one.nodes),
            one.model,
            plain(one.tokens_per_s, decimals),
            share(one.of_best),
            size(one.need_bytes),
            Word("suits", one.suits),
        )
        for one in found
    )
    texts = ("model", "suits")
    keys = ("nodes", "model", "tokens_per_s", "of_best", "largest_process", "suits")
    columns = tuple(Column(key, numeric=key not in texts) for key in keys)
    return Table(columns, rows) if rows else None


def choice_table(view: RunView) -> Table:
    """What each model needs and gives at its best node count."""
    quantities = (TOKENS_PER_S, TPOT, TTFT, RCT)
    columns = (
        MODEL,
        Column("best_nodes"),
        *(Column(q.key, unit=header_unit(q, q.unit)) for q in quantities),
        Column("largest_process"),
        Column("bytes_per_token"),
    )
    tops = best_of_models(view, TOKENS_PER_S)
    rows: list[tuple[Entry, ...]] = []
    for model in view.models:
        top = tops.get(model)
        cell = view.cell(model, top.nodes) if top else None
        need = largest_process(cell)
        rows.append(
            (
                model,
                Nodes(top.nodes) if top else MISSING,
                *(shown(q, value_of(q, cell), q.unit) for q in quantities),
                size(need.peak_bytes if need else None),
                size(value_of(BYTES_PER_TOKEN, cell)),
            )
        )
    return Table(columns, tuple(rows))
