"""Tables of models by node count: what they are, their speed, memory and traffic.

The same in every language, so the two reports cannot differ in a table.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.cell import CellRecord, Estimate
from pytest_dllama.report.figures.quantities import (
    BANDWIDTH,
    BYTES_PER_TOKEN,
    LATENCY,
    MEMORY,
    ROOT_MEMORY,
    SPEED,
    SYNC_SHARE,
    TOKENS_PER_S,
    TOTAL_BYTES,
    WORKER_MEMORY,
    Quantity,
)
from pytest_dllama.report.figures.view import RunView, counts, verdict_of
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.tables.columns import (
    NOT_COUNTED,
    Code,
    Column,
    Entry,
    Nodes,
    Starred,
    Table,
    Word,
    metric_value,
    shown,
    unit_of,
)
from pytest_dllama.report.text.numbers import (
    MISSING,
    byte_unit,
    count,
    plain,
    size,
)

NODES = Column("nodes")
MODEL = Column("model", numeric=False)


def value_of(quantity: Quantity, cell: CellRecord | None) -> float | None:
    """A quantity's value in a cell; None where it is not known."""
    found = quantity.of(cell)
    return None if found is None else found.value


def marked(
    quantity: Quantity, cell: CellRecord | None, unit: str, column: Sequence[float | None]
) -> str:
    """A quantity of a cell as text, with a mark where it does not count.

    Args:
        quantity: which.
        cell: whose.
        unit: that it is shown in.
        column: all values beside it, which share its decimals.
    """
    text = shown(quantity, value_of(quantity, cell), unit, column)
    timed = quantity not in MEMORY and text != MISSING
    return f"{text} {NOT_COUNTED}" if timed and not counts(cell) else text


def models_table(view: RunView) -> Table:
    """What the models are."""
    keys = ("size", "arch", "weights", "dim", "hidden_dim", "layers", "heads", "vocab", "context")
    texts = ("arch", "weights")
    columns = (MODEL, *(Column(key, numeric=key not in texts) for key in keys))
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
    values = {q.key: [value_of(q, cell) for _, cell in cells] for q in quantities}
    units = {q.key: unit_of(q, values[q.key]) for q in quantities}
    columns = (NODES, *(Column(q.key, unit=header_unit(q, units[q.key])) for q in quantities))
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (Nodes(nodes), *(marked(q, cell, units[q.key], values[q.key]) for q in quantities))
        for nodes, cell in cells
    )
    return Table(columns, rows)


def header_unit(quantity: Quantity, unit: str) -> str:
    """The unit that a column's title names; none where the title itself is the unit."""
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
    columns = (Column(q.key, unit=header_unit(q, q.unit)) for q in SPEED)
    return Table((NODES, Column("repeats"), *columns), tuple(rows)) if rows else None


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


def is_known(view: RunView, quantity: Quantity) -> bool:
    """Whether any cell has this quantity: a table of nothing but "-" helps nobody."""
    return any(quantity.of(cell) is not None for cell in view.ordered())


def memory_table(view: RunView) -> Table:
    """Root and worker memory of every model."""
    values = [value_of(quantity, cell) for quantity in MEMORY for cell in view.ordered()]
    unit = byte_unit(values)
    columns = tuple(Column(f"{q.key}_of", model, unit) for q in MEMORY for model in view.models)
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            Nodes(nodes),
            *(
                shown(q, value_of(q, view.cell(m, nodes)), unit)
                for q in MEMORY
                for m in view.models
            ),
        )
        for nodes in view.node_counts
    )
    return Table((NODES, *columns), rows)


def network_table(view: RunView, model: str) -> Table:
    """One model's traffic and latency on every node count."""
    return _grid(view, model, (TOTAL_BYTES, BYTES_PER_TOKEN, LATENCY, BANDWIDTH, SYNC_SHARE))
