"""A series of nights in a table's cell: a line, and what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_dllama.report.figures.charts import Track
from pytest_dllama.report.plots.drawing.canvas import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL_IN = (2.3, 0.62)
LEAST_SPAN = 0.05  # of the median, up and down: the noise of quiet nights must look quiet
DOTTED = 120  # nights; of more only the line is drawn
# kind of event -> (mark, its size, role of the colour, filled)
_MARKS = {
    "anchor": ("s", 9, "ink", False),
    "accepted": ("D", 5, "good", True),
    "cleared": ("v", 6, "good", False),
    "alarm": ("v", 6, "limit", True),
    "regressed": ("v", 6, "bad", True),
}


def draw_track(track: Track, drawing: Drawing) -> Figure:
    """The line of a series and what happened at its nights, without axes."""
    from matplotlib.figure import Figure

    theme = drawing.theme
    figure = Figure(figsize=SMALL_IN)
    figure.set_facecolor(theme.surface)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    x, y = [p.x for p in track.points], [p.y for p in track.points]
    by_x = dict(zip(x, y, strict=True))
    low, high = _span(y)
    axes.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    axes.set_xlim(-0.03 * track.nights - 0.3, track.nights * 1.03 - 0.7)
    for event in track.events:
        if event.kind == "commit":
            line = axes.axvline(event.x - 0.5, color=theme.grid, linewidth=1.4, zorder=1)
            drawing.hint(line, event.text)
    axes.plot(x, y, color=theme.series[0], linewidth=1.3, zorder=2)
    for p, text in zip(track.points, track.hints, strict=True):
        if len(x) <= DOTTED:
            (dot,) = axes.plot([p.x], [p.y], ".", color=theme.series[0], markersize=3.2, zorder=3)
            drawing.hint(dot, text)
    for event in track.events:
        if event.kind in _MARKS:
            mark, size, role, is_filled = _MARKS[event.kind]
            colour = getattr(theme, role)
            (sign,) = axes.plot(
                [event.x], [by_x[event.x]], mark, color=colour, markersize=size, zorder=4,
                markerfacecolor=colour if is_filled else theme.surface,
            )  # fmt: skip
            drawing.hint(sign, event.text)
    return figure


def _span(values: Sequence[float]) -> tuple[float, float]:
    """What a small chart shows of the axis."""
    middle = sorted(values)[len(values) // 2]
    least = abs(middle) * LEAST_SPAN or 1.0
    return min(*values, middle - least), max(*values, middle + least)
