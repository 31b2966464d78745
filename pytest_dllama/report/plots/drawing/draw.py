"""Chart -> figure -> SVG or PNG, with matplotlib, which is imported when the first is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pytest_dllama.report.figures.charts import MOST_PANELS, Chart, Forest, Panel, Track
from pytest_dllama.report.plots.drawing.bars import draw_bars, draw_stack
from pytest_dllama.report.plots.drawing.canvas import Drawing, shown
from pytest_dllama.report.plots.drawing.forest import draw_forest
from pytest_dllama.report.plots.drawing.lines import draw_lines
from pytest_dllama.report.plots.drawing.svg import finished
from pytest_dllama.report.plots.drawing.theme import LIGHT, Theme
from pytest_dllama.report.plots.drawing.track import draw_track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2  # panels side by side
WIDTH_IN, PANEL_IN = 7.4, 2.5
WIDE = 72  # characters of a title as wide as the picture
# Of text, so that browsers set it in their own font; ids are the same for the same picture.
RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pytest-dllama",
    "font.size": 9.0,
    "hatch.linewidth": 0.6,
}
_DRAW: dict[str, Callable[[Axes, Any, Drawing], None]] = {
    "lines": draw_lines,
    "stack": draw_stack,
    "bars": draw_bars,
    "forest": draw_forest,
}


def svg(chart: Chart) -> str:
    """The picture as SVG in light colours, which turns dark where the reader's page is."""
    drawing = Drawing(LIGHT, chart)
    with _quiet():
        figure = _figure(chart, drawing)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return finished(out.getvalue(), drawing.hints, chart.name)


def png(chart: Chart, theme: Theme) -> bytes:
    """The picture as PNG."""
    with _quiet():
        out = io.BytesIO()
        _figure(chart, Drawing(theme, chart)).savefig(out, format="png", dpi=144)
    return out.getvalue()


class _quiet:
    """matplotlib's settings for one picture, and silence of what it warns of: missing glyphs."""

    def __enter__(self) -> None:
        import matplotlib as mpl

        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("ignore")
        self.settings = mpl.rc_context(cast(Any, RC))
        self.settings.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.settings.__exit__(*error)
        self.warnings.__exit__(*error)


def _figure(chart: Chart, drawing: Drawing) -> Figure:
    from matplotlib.figure import Figure

    if isinstance(track := chart.panels[0], Track):
        return draw_track(track, drawing)
    panels = chart.panels[:MOST_PANELS]
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    height = max(PANEL_IN * rows, *(_height(panel) for panel in panels)) + 0.35
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    figure.set_facecolor(drawing.theme.surface)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        title = "" if isinstance(panel, Track) else panel.title
        _dress(axes, drawing.theme, shown(title, WIDE // columns))
        _DRAW[panel.kind](axes, panel, drawing)
        _label(axes, chart, drawing.theme, is_first=i % columns == 0)
    return figure


def _height(panel: Panel) -> float:
    return 0.28 * len(panel.effects) + 1.0 if isinstance(panel, Forest) else PANEL_IN


def _dress(axes: Axes, theme: Theme, title: str) -> None:
    axes.set_facecolor(theme.surface)
    axes.set_title(title, color=theme.ink, fontsize=10, parse_math=False, loc="left")
    axes.tick_params(colors=theme.muted, length=3)
    axes.grid(True, color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(theme.grid)
        spine.set_visible(side in ("left", "bottom"))


def _label(axes: Axes, chart: Chart, theme: Theme, *, is_first: bool) -> None:
    axes.set_xlabel(chart.x_label, color=theme.muted, parse_math=False)
    if is_first:
        axes.set_ylabel(chart.y_label, color=theme.muted, parse_math=False)
