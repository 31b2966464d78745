"""tokens/s and TPOT against the node count, beside ideal scaling and the memory roofline."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.charts import Chart, Curve, Lines, Point, finite, point
from pytest_dllama.report.figures.quantities import TOKENS_PER_S, TPOT, Quantity
from pytest_dllama.report.figures.view import RunView, counts

_MS = 1000.0  # of a second


def tokens_per_s(view: RunView) -> Chart | None:
    """More is better: ideal is proportional to the nodes."""
    return _chart(view, TOKENS_PER_S, "tokens-per-s", "tokens/s")


def tpot(view: RunView) -> Chart | None:
    """Less is better: ideal is the inverse of the nodes."""
    return _chart(view, TPOT, "tpot", "TPOT (ms)")


def _chart(view: RunView, quantity: Quantity, name: str, label: str) -> Chart | None:
    panels = tuple(p for model in view.models if (p := _panel(view, model, quantity)))
    return Chart(name, "nodes", label, panels) if panels else None


def _panel(view: RunView, model: str, quantity: Quantity) -> Lines | None:
    found = [(n, cell) for n in view.node_counts if counts(cell := view.cell(model, n))]
    points = tuple(p for n, cell in found if (p := point(n, quantity.of(cell))))
    if len(points) < 2:
        return None
    base = points[0]
    ideal = tuple(Point(p.x, _ideal(quantity, base, p.x)) for p in points if base.x > 0)
    limits = tuple(
        Point(n, limit if quantity is TPOT else _MS / limit)
        for n, cell in found
        if (limit := _limit_ms(cell))
    )
    curves = [Curve("measured", points)]
    if ideal:
        curves.append(Curve("ideal", ideal, "ideal"))
    if limits:
        curves.append(Curve("memory roofline", limits, "limit"))
    return Lines(model, tuple(curves), tuple(int(p.x) for p in points))


def _ideal(quantity: Quantity, base: Point, nodes: float) -> float:
    factor = nodes / base.x
    return base.y * factor if quantity.better == "higher" else base.y / factor


def _limit_ms(cell: CellRecord | None) -> float | None:
    limit = finite(cell.roofline.limit_ms) if cell is not None and cell.roofline else None
    return limit if limit is not None and limit > 0 else None
