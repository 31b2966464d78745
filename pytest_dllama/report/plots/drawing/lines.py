"""Curves over node counts: measured, ideal, limits, and series of many points."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_dllama.report.figures.charts import Curve, Lines
from pytest_dllama.report.plots.drawing.canvas import Drawing, figure_of, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
ROOM = 2.2  # times the largest measured value: more of an axis is cut off


def draw_lines(axes: Axes, panel: Lines, drawing: Drawing) -> None:
    """All curves of a panel and their legend."""
    for i, curve in enumerate(panel.curves):
        _CURVE[curve.style](axes, curve, i, drawing)
    if panel.ticks:
        axes.set_xticks(panel.ticks)
        axes.set_xlim(min(panel.ticks) - 0.5, max(panel.ticks) + 0.5)
    axes.set_ylim(0, _top(panel, axes.get_ylim()[1]))
    title = "nodes" if any(curve.style == "dense" for curve in panel.curves) else None
    legend(axes, drawing.theme, title=title, title_fontproperties={"size": 8})
    found = axes.get_legend()
    if found is not None:
        found.get_title().set_color(drawing.theme.muted)


def _top(panel: Lines, full: float) -> float:
    """Lines that nobody reaches may leave the picture: what was measured must stay readable."""
    known = [p.y for curve in panel.curves if curve.style == "measured" for p in curve.points]
    return min(full, ROOM * max(known)) if known and max(known) > 0 else full


def _measured(axes: Axes, curve: Curve, i: int, drawing: Drawing) -> None:
    colour = drawing.colour(i)
    x, y = [p.x for p in curve.points], [p.y for p in curve.points]
    axes.plot(x, y, color=colour, linewidth=1.8, label=curve.name, zorder=3)
    for p in curve.points:
        known = p.low is not None and p.high is not None
        if p.low is not None and p.high is not None:
            axes.errorbar(
                [p.x], [p.y], [[max(p.y - p.low, 0)], [max(p.high - p.y, 0)]],
                ecolor=colour, fmt="none", capsize=3, elinewidth=1.2, zorder=4,
            )  # fmt: skip
        (mark,) = axes.plot([p.x], [p.y], MARKS[i % len(MARKS)], color=colour, zorder=5)
        text = f"{curve.name}, {p.x:g} nodes: {figure_of(p.y)}"
        if known:
            ends = figure_of(p.low), figure_of(p.high)
            text = f"{curve.name}, {p.x:g} nodes: {figure_of(p.y)} ({ends[0]} to {ends[1]})"
        drawing.hint(mark, text)


def _ideal(axes: Axes, curve: Curve, i: int, drawing: Drawing) -> None:
    x, y = [p.x for p in curve.points], [p.y for p in curve.points]
    axes.plot(x, y, "--", color=drawing.theme.muted, linewidth=1.2, label=curve.name)


def _limit(axes: Axes, curve: Curve, i: int, drawing: Drawing) -> None:
    x, y = [p.x for p in curve.points], [p.y for p in curve.points]
    axes.plot(x, y, ":", color=drawing.theme.limit, linewidth=1.8, label=curve.name)
    for p in curve.points:
        (mark,) = axes.plot([p.x], [p.y], "_", color=drawing.theme.limit, markersize=11, zorder=6)
        drawing.hint(mark, f"{curve.name}, {p.x:g} nodes: {figure_of(p.y)}")


def _dense(axes: Axes, curve: Curve, i: int, drawing: Drawing) -> None:
    x, y = [p.x for p in curve.points], [p.y for p in curve.points]
    dashes = DASHES[i % len(DASHES)]
    (line,) = axes.plot(x, y, dashes, color=drawing.colour(i), linewidth=1.5, label=curve.name)
    drawing.hint(line, f"{curve.name} nodes: {figure_of(min(y))} to {figure_of(max(y))}")


_CURVE: dict[str, Callable[[Axes, Curve, int, Drawing], None]] = {
    "measured": _measured,
    "ideal": _ideal,
    "limit": _limit,
    "dense": _dense,
}
