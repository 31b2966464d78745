"""Effects with their intervals, one below the other, beside what is tolerated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dllama.report.figures.charts import Forest
from pytest_dllama.report.plots.drawing.canvas import Drawing, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_forest(axes: Axes, panel: Forest, drawing: Drawing) -> None:
    """The first effect at the top."""
    theme = drawing.theme
    colours = {"REGRESSED": theme.bad, "IMPROVED": theme.good, "PASS": theme.series[0]}
    rows = list(enumerate(reversed(panel.effects)))
    for y, one in rows:
        axes.barh(y, 2 * one.tolerance, 0.8, left=-one.tolerance, color=theme.grid, zorder=1)
        colour = colours.get(one.status, theme.muted)
        axes.plot([one.low, one.high], [y, y], color=colour, linewidth=2, zorder=3)
        mark = "D" if one.status == "REGRESSED" else "o"
        (dot,) = axes.plot([one.change], [y], mark, color=colour, markersize=6, zorder=4)
        drawing.hint(
            dot,
            f"{one.label}: {one.change:+.1f} % ({one.low:+.1f} to {one.high:+.1f}), {one.status}",
        )
    axes.axvline(0, color=theme.muted, linewidth=1, zorder=2)
    axes.set_yticks([y for y, _ in rows], [shown(one.label) for _, one in rows])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
        text.set_color(theme.ink)
    axes.grid(False, axis="y")
    axes.margins(x=0.08)
