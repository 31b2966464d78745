"""Gaps between tokens: over the request, where a throttled board shows, and their distribution."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.report.figures.cell_detail import median_sample
from pytest_dllama.report.figures.charts import Chart, Curve, Lines, Point, finite
from pytest_dllama.report.figures.view import RunView, counts

MOST_POINTS = 400  # of a curve; more are averaged in groups
MOST_STEPS = 100  # of a distribution: one a percent


def over_request(view: RunView) -> Chart | None:
    """The gaps of each node count's median repeat, in order."""
    panels = []
    for model in view.models:
        curves = []
        for nodes, gaps in _gaps(view, model, median_only=True):
            curves.append(Curve(f"{nodes}", _averaged(gaps), "dense"))
        if curves:
            panels.append(Lines(model, tuple(curves)))
    return Chart("itl", "output token", "ITL (ms)", tuple(panels)) if panels else None


def distribution(view: RunView) -> Chart | None:
    """The share of gaps that are no longer than x, all repeats together."""
    panels = []
    for model in view.models:
        curves = []
        for nodes, gaps in _gaps(view, model, median_only=False):
            curves.append(Curve(f"{nodes}", _shares(gaps), "dense"))
        if curves:
            panels.append(Lines(model, tuple(curves)))
    name, label = "itl-distribution", "share of gaps (%)"
    return Chart(name, "ITL (ms)", label, tuple(panels)) if panels else None


def _gaps(view: RunView, model: str, *, median_only: bool) -> list[tuple[int, list[float]]]:
    found = []
    for nodes in view.node_counts:
        cell = view.cell(model, nodes)
        if cell is None or not counts(cell):
            continue
        median = median_sample(cell)
        samples = [median] if median_only else list(cell.samples)
        gaps = [gap for s in samples if s for ms in s.itl_ms if (gap := finite(ms)) is not None]
        if len(gaps) > 1:
            found.append((nodes, gaps))
    return found


def _averaged(gaps: Sequence[float]) -> tuple[Point, ...]:
    """(token, ms); the first gap ends with the second token."""
    size = -(-len(gaps) // MOST_POINTS)
    groups = [(start, gaps[start : start + size]) for start in range(0, len(gaps), size)]
    return tuple(Point(start + 2 + (len(g) - 1) / 2, sum(g) / len(g)) for start, g in groups)


def _shares(gaps: Sequence[float]) -> tuple[Point, ...]:
    """(ms, percent of the gaps that are no longer)."""
    ranked = sorted(gaps)
    n = len(ranked)
    steps = min(n, MOST_STEPS)
    places = [max(round(step * n / steps), 1) for step in range(1, steps + 1)]
    return tuple(Point(ranked[place - 1], place * 100 / n) for place in places)
