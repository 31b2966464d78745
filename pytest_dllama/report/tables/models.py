"""The report's tables over models and node counts: which rows, from which figures.

The same in every language, so the two reports cannot differ in a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pytest_dllama.record.cell import CellRecord, Estimate
from pytest_dllama.report.figures.compare import Difference, compare_cells
from pytest_dllama.report.figures.quantities import (
    BANDWIDTH,
    BYTES_PER_TOKEN,
    LATENCY,
    MEMORY,
    RCT,
    ROOT_MEMORY,
    SPEED,
    SYNC_SHARE,
    TOKENS_PER_S,
    TOTAL_BYTES,
    TPOT,
    TTFT,
    WORKER_MEMORY,
    Quantity,
)
from pytest_dllama.report.figures.view import RunView, counts, verdict_of
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.rules.findings import efficiency, largest_process
from pytest_dllama.report.rules.scenarios import all_scenarios
from pytest_dllama.report.tables.columns import (
    NOT_COUNTED,
    WITHIN_SPREAD,
    Code,
    Column,
    Entry,
    Nodes,
    NodeStep,
    Starred,
    Table,
    Word,
    in_unit,
    metric_value,
    shown,
    unit_of,
)
from pytest_dllama.report.text.numbers import (
    MISSING,
    byte_unit,
    count,
    number,
    percent,
    plain,
    share,
    signed,
    size,
)

_NODES = Column("nodes")
_MODEL = Column("model", numeric=False)


def _value(quantity: Quantity, cell: CellRecord | None) -> float | None:
    found = quantity.of(cell)
    return None if found is None else found.value


def _marked(
    quantity: Quantity, cell: CellRecord | None, unit: str, column: Sequence[float | None]
) -> str:
    text = shown(quantity, _value(quantity, cell), unit, column)
    timed = quantity not in MEMORY and text != MISSING
    return f"{text} {NOT_COUNTED}" if timed and not counts(cell) else text


def models_table(view: RunView) -> Table:
    """What the models are."""
    keys = ("size", "arch", "weights", "dim", "hidden_dim", "layers", "heads", "vocab", "context")
    texts = ("arch", "weights")
    columns = (_MODEL, *(Column(key, numeric=key not in texts) for key in keys))
    rows = tuple(
        (
            model.name,
            size(model.size_bytes),
            model.arch,
            model.weight_type,
            count(model.dim),
            count(model.hidden_dim),
            count(model.n_layers),
            f"{model.n_heads} / {model.n_kv_heads}",
            count(model.vocab_size),
            count(model.seq_len),
        )
        for model in view.run.models
    )
    return Table(columns, rows)


def _grid(view: RunView, model: str, quantities: Sequence[Quantity]) -> Table:
    """One model's cells, a row each, a column for each quantity."""
    cells = [(nodes, view.cell(model, nodes)) for nodes in view.node_counts]
    values = {q.key: [_value(q, cell) for _, cell in cells] for q in quantities}
    units = {q.key: unit_of(q, values[q.key]) for q in quantities}
    columns = (_NODES, *(Column(q.key, unit=_header_unit(q, units[q.key])) for q in quantities))
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (Nodes(nodes), *(_marked(q, cell, units[q.key], values[q.key]) for q in quantities))
        for nodes, cell in cells
    )
    return Table(columns, rows)


def _header_unit(quantity: Quantity, unit: str) -> str:
    return "" if quantity is TOKENS_PER_S else unit


def summary_table(view: RunView, model: str) -> Table:
    """Memory, speed, output and verdict of one model on every node count."""
    grid = _grid(view, model, (ROOT_MEMORY, WORKER_MEMORY, *SPEED))
    top = best_of_models(view, TOKENS_PER_S).get(model)
    last = (Column("output", numeric=False), Column("verdict", numeric=False))
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            Starred(Nodes(nodes)) if top is not None and top.nodes == nodes else row[0],
            *row[1:],
            output_state(view.cell(model, nodes)),
            Word("verdict", verdict_of(view.cell(model, nodes))),
        )
        for row, nodes in zip(grid.rows, view.node_counts, strict=True)
    )
    return Table((*grid.columns, *last), rows)


def output_state(cell: CellRecord | None) -> Entry:
    """The state of a cell's output, as a word."""
    if cell is None or cell.status != "ok":
        return MISSING
    return Word("output", cell.output.status if cell.output else "unchecked")


def spread_table(view: RunView, model: str) -> Table | None:
    """Minimum to maximum of the repeats, or None if nothing was repeated."""
    found = {nodes: [q.of(view.cell(model, nodes)) for q in SPEED] for nodes in view.node_counts}
    decimals = [
        q.shown_decimals(*(value.minimum for row in found.values() if (value := row[i])))
        for i, q in enumerate(SPEED)
    ]
    rows: list[tuple[Entry, ...]] = []
    for nodes, values in found.items():
        n = max((value.n for value in values if value), default=0)
        if n > 1:
            ranges = [_range(value, digits) for value, digits in zip(values, decimals, strict=True)]
            rows.append((Nodes(nodes), str(n), *ranges))
    columns = (Column(q.key, unit=_header_unit(q, q.unit)) for q in SPEED)
    return Table((_NODES, Column("repeats"), *columns), tuple(rows)) if rows else None


def percentiles_table(view: RunView) -> Table | None:
    """Percentiles of single requests and gaps, where there were enough of them for one."""
    rows: list[tuple[Entry, ...]] = []
    for cell in view.ordered():
        for metric, found in cell.percentiles.items():
            values = (found.p50, found.p90, found.p95, found.p99)
            if found.p50 is not None:
                shown_values = (metric_value(metric, value) for value in values)
                rows.append((cell.id, Code(metric), count(found.n), *shown_values))
    keys = ("cell", "metric", "repeats", "rank_50", "rank_90", "rank_95", "rank_99")
    columns = tuple(Column(key, numeric=key not in ("cell", "metric")) for key in keys)
    return Table(columns, tuple(rows)) if rows else None


def _range(value: Estimate | None, decimals: int) -> str:
    if value is None:
        return MISSING
    return f"{plain(value.minimum, decimals)} – {plain(value.maximum, decimals)}"


def comparison_table(view: RunView, quantity: Quantity) -> Table:
    """The first model against each other one, per node count."""
    values = [_value(quantity, cell) for cell in view.ordered()]
    unit = unit_of(quantity, values)
    shown_unit = _header_unit(quantity, unit)
    first, others = view.models[0], view.models[1:]
    rows: list[tuple[Entry, ...]] = []
    for nodes in view.node_counts:
        for other in others:
            a, b = view.cell(first, nodes), view.cell(other, nodes)
            diff = compare_cells(quantity, a, b)
            pair = tuple(_marked(quantity, found, unit, values) for found in (a, b))
            named = (pair[0], other, pair[1]) if len(others) > 1 else pair
            rows.append((Nodes(nodes), *named, *_difference(quantity, diff, unit, values)))
    last = (Column("difference", unit="%p" if quantity.unit == "share" else ""), Column("percent"))
    if len(others) > 1:
        middle = (
            Column("of_model", first, shown_unit),
            Column("compared", numeric=False),
            Column("its_value", unit=shown_unit),
        )
        return Table((_NODES, *middle, *last), tuple(rows))
    both = tuple(Column("of_model", model, shown_unit) for model in view.models)
    return Table((_NODES, *both, *last), tuple(rows))


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


def is_known(view: RunView, quantity: Quantity) -> bool:
    """Whether any cell has this quantity: a table of nothing but "-" helps nobody."""
    return any(quantity.of(cell) is not None for cell in view.ordered())


def memory_table(view: RunView) -> Table:
    """Root and worker memory of every model."""
    values = [_value(quantity, cell) for quantity in MEMORY for cell in view.ordered()]
    unit = byte_unit(values)
    columns = tuple(Column(f"{q.key}_of", model, unit) for q in MEMORY for model in view.models)
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            Nodes(nodes),
            *(shown(q, _value(q, view.cell(m, nodes)), unit) for q in MEMORY for m in view.models),
        )
        for nodes in view.node_counts
    )
    return Table((_NODES, *columns), rows)


def network_table(view: RunView, model: str) -> Table:
    """One model's traffic and latency on every node count."""
    return _grid(view, model, (TOTAL_BYTES, BYTES_PER_TOKEN, LATENCY, BANDWIDTH, SYNC_SHARE))


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
    return Table((_NODES, *(Column("of_model", model) for model in view.models)), rows)


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
        _MODEL,
        Column("best_nodes"),
        *(Column(q.key, unit=_header_unit(q, q.unit)) for q in quantities),
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
                *(shown(q, _value(q, cell), q.unit) for q in quantities),
                size(need.peak_bytes if need else None),
                size(_value(BYTES_PER_TOKEN, cell)),
            )
        )
    return Table(columns, tuple(rows))
