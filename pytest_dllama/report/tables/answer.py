"""The table of the first screen: a row a cell, the worst first where there is a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.verdict import PRECEDENCE, CellVerdict, MetricVerdict
from pytest_dllama.report.figures.charts import finite
from pytest_dllama.report.figures.quantities import TOKENS_PER_S, TPOT, TTFT
from pytest_dllama.report.figures.view import RunView, counts, name_of, verdict_of
from pytest_dllama.report.rules.answer import OPEN, worst_first
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.tables.columns import (
    NOT_COUNTED,
    RETRIED,
    Column,
    Entry,
    Starred,
    Table,
    Word,
    metric_value,
)
from pytest_dllama.report.tables.models import output_state
from pytest_dllama.report.text.numbers import MISSING, count, number, plain, share

MOST_ROWS = 8
# Said where TPOT is not what decides.
NAMES = {"steady_tpot_ms": "steady TPOT", "ttft_s": "TTFT", "rct_s": "RCT"}
SENSELESS = 4.0  # of a change: more says only that nothing could be found


def answer_table(view: RunView, most: int | None = MOST_ROWS) -> Table | None:
    """The verdict's cells, else the run's; at most so many rows."""
    if view.verdict is not None:
        return verdict_table(view, most)
    return cells_table(view, most)


def left_out(view: RunView) -> int:
    """How many cells the first screen has no row for."""
    total = len(view.verdict.cells) if view.verdict is not None else len(view.cells)
    return max(total - MOST_ROWS, 0)


def verdict_table(view: RunView, most: int | None = None) -> Table | None:
    """The change that decides with its bounds, what is tolerated, and the other metrics' status."""
    cells = worst_first(view)[:most]
    if not cells:
        return None
    texts = ("cell", "against", "ttft_status", "rct_status", "verdict")
    keys = ("cell", "new_tpot", "against", "tolerated", "ttft_status", "rct_status", "verdict")
    columns = tuple(Column(key, numeric=key not in texts) for key in keys)
    return Table(columns, tuple(_verdict_row(cell) for cell in cells))


def _verdict_row(cell: CellVerdict) -> tuple[Entry, ...]:
    by_name = {one.metric: one for one in cell.metrics}
    tpot, worst = by_name.get("tpot_ms"), _deciding(cell)
    other = f"{NAMES[worst.metric]} " if worst and worst.metric in NAMES else ""
    return (
        cell.id,
        plain(finite(tpot.new) if tpot else None, 2),
        f"{other}{effect(worst)}",
        f"{number(worst.tolerance * 100, 0)}%" if worst else MISSING,
        *(_status(by_name.get(metric)) for metric in ("ttft_s", "rct_s")),
        Word("verdict", cell.status),
    )


def _deciding(cell: CellVerdict) -> MetricVerdict | None:
    """The metric that gives the cell its status; TPOT where it is one of several."""
    order = sorted(cell.metrics, key=lambda one: one.metric != "tpot_ms")
    return min(order, key=lambda one: PRECEDENCE.index(one.status), default=None)


def _status(one: MetricVerdict | None) -> Entry:
    return Word("verdict", one.status) if one else MISSING


def effect(one: MetricVerdict | None) -> str:
    """A change with its bounds; plus is slower."""
    ends = [finite(value) for value in (one.change, one.lower, one.upper)] if one else [None]
    known = [value * 100 for value in ends if value is not None]
    if len(known) < 3:
        return MISSING
    change, low, high = known
    return f"{change:+.1f}% ({low:+.1f} … {high:+.1f})"


def metrics_table(view: RunView, without: tuple[str, ...] = ()) -> Table | None:
    """Metrics of judged cells but for these statuses, with the noise of a pair and its reach."""
    keys = (
        *("cell", "metric", "base", "new", "against", "tolerated"),
        *("pairs", "pair_noise", "detectable", "to_decide", "verdict"),
    )
    texts = ("cell", "metric", "against", "verdict")
    rows = tuple(
        _metric_row(cell, one)
        for cell in worst_first(view)
        for one in cell.metrics
        if one.status not in without
    )
    columns = tuple(Column(key, numeric=key not in texts) for key in keys)
    return Table(columns, rows) if rows else None


def _metric_row(cell: CellVerdict, one: MetricVerdict) -> tuple[Entry, ...]:
    noise, reach = finite(one.pair_sd), finite(one.detectable_change)
    return (
        cell.id,
        one.metric,
        metric_value(one.metric, finite(one.base)),
        metric_value(one.metric, finite(one.new)),
        effect(one),
        f"{number(one.tolerance * 100, 0)}%",
        str(one.pairs),
        _bounded(noise),
        _bounded(reach),
        count(one.pairs_to_decide) if one.status == OPEN else MISSING,
        Word("verdict", one.status),
    )


def _bounded(value: float | None) -> str:
    """A share of one; what is beyond any use is not told to the digit."""
    return f"> {SENSELESS:.0%}" if value is not None and value > SENSELESS else share(value)


CELL_SPEEDS = (TOKENS_PER_S, TPOT, TTFT)


def cells_table(view: RunView, most: int | None = None) -> Table | None:
    """Speed, output and verdict of the run's cells, a row each; at most so many rows."""
    if not view.cells:
        return None
    texts = ("cell", "output", "verdict")
    keys = ("cell", "tokens_per_s", "tpot_ms", "ttft_s", "output", "verdict")
    units = {"tpot_ms": "ms", "ttft_s": "s"}
    columns = tuple(Column(k, unit=units.get(k, ""), numeric=k not in texts) for k in keys)
    tops = {model: top.nodes for model, top in best_of_models(view, TOKENS_PER_S).items()}
    cells = _first(view, tops, most)
    speeds = [[found.value for c in cells if (found := q.of(c))] for q in CELL_SPEEDS]
    decimals = [q.shown_decimals(*values) for q, values in zip(CELL_SPEEDS, speeds, strict=True)]
    rows = (_cell_row(cell, tops.get(name_of(cell)), decimals) for cell in cells)
    return Table(columns, tuple(rows))


def _first(view: RunView, tops: dict[str, int], most: int | None) -> list[CellRecord]:
    """The best of each model, then the rest, up to the number of rows; in the run's order."""
    cells = list(view.ordered())
    if most is None or len(cells) <= most:
        return cells
    kept = sorted(cells, key=lambda cell: tops.get(name_of(cell)) != cell.nodes)[:most]
    return [cell for cell in cells if cell in kept]


def _cell_row(cell: CellRecord, best: int | None, decimals: Sequence[int]) -> tuple[Entry, ...]:
    mark = "" if counts(cell) or cell.status != "ok" else f" {NOT_COUNTED}"
    mark += f" {RETRIED}" if cell.retried else ""
    figures = []
    for quantity, n in zip(CELL_SPEEDS, decimals, strict=True):
        found = quantity.of(cell)
        text = plain(found.value if found else None, n)
        figures.append(text if text == MISSING else text + mark)
    name: Entry = Starred(cell.id) if best == cell.nodes else cell.id
    return (name, *figures, output_state(cell), Word("verdict", verdict_of(cell)))
