"""Chart -> figure -> SVG or PNG, with matplotlib, which is imported when the first is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from pytest_dllama.metrics.parts import OTHER
from pytest_dllama.report.figures.charts import (
    MOST_PANELS,
    Bars,
    Chart,
    Curve,
    Forest,
    Lines,
    Panel,
    Stack,
    Track,
)
from pytest_dllama.report.figures.token_time import PART_NAMES
from pytest_dllama.report.plots.svg import finished
from pytest_dllama.report.plots.theme import LIGHT, Theme
from pytest_dllama.report.text.markdown import printable
from pytest_dllama.report.text.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2  # panels side by side
WIDTH_IN, PANEL_IN = 7.4, 2.5
WIDE = 72  # characters of a title as wide as the picture
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++", "**", "||")
BAR = 0.36
FEWEST_BARS = 3  # that a panel has room for
SMALL_IN = (2.3, 0.62)  # of a chart in a table's cell
LEAST_SPAN = 0.05  # of the median, up and down: the noise of quiet nights must look quiet
DOTTED = 120  # nights; of more only the line is drawn
ROOM = 2.2  # times the largest measured value: more of an axis is cut off
# Of text, so that browsers set it in their own font; ids are the same for the same picture.
RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pytest-dllama",
    "font.size": 9.0,
    "hatch.linewidth": 0.6,
}


class Drawing:
    """One picture being drawn: its theme, and what each mark says when it is pointed at."""

    def __init__(self, theme: Theme, chart: Chart) -> None:
        stacks = [panel for panel in chart.panels if isinstance(panel, Stack)]
        longest = sorted(stacks, key=lambda panel: -len(panel.parts))
        names = dict.fromkeys(part.name for panel in longest for part in panel.parts)
        self.theme = theme
        self.places = {name: i for i, name in enumerate(names)}  # a part looks alike everywhere
        self.hints: dict[str, str] = {}

    def hint(self, artist: Any, text: str) -> None:
        """Say `text` when `artist` is pointed at."""
        name = f"hint{len(self.hints)}"
        artist.set_gid(name)
        self.hints[name] = printable(text).replace("\n", " ")

    def colour(self, i: int) -> str:
        """Of the i-th series."""
        return self.theme.series[i % len(self.theme.series)]


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
        return _small(track, drawing)
    panels = chart.panels[:MOST_PANELS]
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    height = max(PANEL_IN * rows, *(_height(panel) for panel in panels)) + 0.35
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    figure.set_facecolor(drawing.theme.surface)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        title = "" if isinstance(panel, Track) else panel.title
        _dress(axes, drawing.theme, _shown(title, WIDE // columns))
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


def _shown(text: str, most: int = 44) -> str:
    line = printable(text).replace("\n", " ")
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _legend(axes: Axes, theme: Theme, **where: Any) -> None:
    found = axes.legend(fontsize=8, frameon=False, labelcolor=theme.ink, **where)
    for text in found.get_texts():
        text.set_parse_math(False)


def _lines(axes: Axes, panel: Lines, drawing: Drawing) -> None:
    for i, curve in enumerate(panel.curves):
        _CURVE[curve.style](axes, curve, i, drawing)
    if panel.ticks:
        axes.set_xticks(panel.ticks)
        axes.set_xlim(min(panel.ticks) - 0.5, max(panel.ticks) + 0.5)
    axes.set_ylim(0, _top(panel, axes.get_ylim()[1]))
    title = "nodes" if any(curve.style == "dense" for curve in panel.curves) else None
    _legend(axes, drawing.theme, title=title, title_fontproperties={"size": 8})
    legend = axes.get_legend()
    if legend is not None:
        legend.get_title().set_color(drawing.theme.muted)


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
        text = f"{curve.name}, {p.x:g} nodes: {_figure_of(p.y)}"
        if known:
            ends = _figure_of(p.low), _figure_of(p.high)
            text = f"{curve.name}, {p.x:g} nodes: {_figure_of(p.y)} ({ends[0]} to {ends[1]})"
        drawing.hint(mark, text)


def _ideal(axes: Axes, curve: Curve, i: int, drawing: Drawing) -> None:
    x, y = [p.x for p in curve.points], [p.y for p in curve.points]
    axes.plot(x, y, "--", color=drawing.theme.muted, linewidth=1.2, label=curve.name)


def _limit(axes: Axes, curve: Curve, i: int, drawing: Drawing) -> None:
    x, y = [p.x for p in curve.points], [p.y for p in curve.points]
    axes.plot(x, y, ":", color=drawing.theme.limit, linewidth=1.8, label=curve.name)
    for p in curve.points:
        (mark,) = axes.plot([p.x], [p.y], "_", color=drawing.theme.limit, markersize=11, zorder=6)
        drawing.hint(mark, f"{curve.name}, {p.x:g} nodes: {_figure_of(p.y)}")


def _dense(axes: Axes, curve: Curve, i: int, drawing: Drawing) -> None:
    x, y = [p.x for p in curve.points], [p.y for p in curve.points]
    dashes = DASHES[i % len(DASHES)]
    (line,) = axes.plot(x, y, dashes, color=drawing.colour(i), linewidth=1.5, label=curve.name)
    drawing.hint(line, f"{curve.name} nodes: {_figure_of(min(y))} to {_figure_of(max(y))}")


def _stack(axes: Axes, panel: Stack, drawing: Drawing) -> None:
    x = range(len(panel.labels))
    below = [0.0] * len(panel.labels)
    for part in panel.parts:
        i, name = drawing.places[part.name], PART_NAMES.get(part.name, part.name)
        values = [value or 0.0 for value in part.values]
        is_rest = part.name == OTHER  # of no kind of its own, so of no colour of theirs
        colour = drawing.theme.muted if is_rest else drawing.colour(i)
        hatch = "" if is_rest else HATCHES[i % len(HATCHES)]
        bars = axes.bar(
            x, values, 0.6, bottom=below, color=colour, label=name,
            hatch=hatch, edgecolor=drawing.theme.surface, linewidth=0.6,
        )  # fmt: skip
        for bar, label, value in zip(bars, panel.labels, values, strict=True):
            drawing.hint(bar, f"{name}, {label} nodes: {_figure_of(value)} ms")
        below = [a + b for a, b in zip(below, values, strict=True)]
    _name_bars(axes, panel.labels)
    handles, labels = axes.get_legend_handles_labels()  # top of the bar first
    where = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    _legend(axes, drawing.theme, handles=handles[::-1], labels=labels[::-1], **where)


def _name_bars(axes: Axes, labels: Sequence[str]) -> None:
    """A label below each bar; few bars are no wider than many."""
    n, wanted = len(labels), max(len(labels), FEWEST_BARS)
    axes.set_xticks(range(n), labels)
    axes.set_xlim((n - 1 - wanted) / 2, (n - 1 + wanted) / 2)
    axes.grid(False, axis="x")


def _bars(axes: Axes, panel: Bars, drawing: Drawing) -> None:
    n = len(panel.groups)
    for i, group in enumerate(panel.groups):
        at = [place + (i - (n - 1) / 2) * BAR for place in range(len(panel.labels))]
        values = [value or 0.0 for value in group.values]
        bars = axes.bar(
            at, values, BAR * 0.92, color=drawing.colour(i), label=group.name,
            hatch=HATCHES[i % len(HATCHES)], edgecolor=drawing.theme.surface, linewidth=0.6,
        )  # fmt: skip
        for bar, label, value in zip(bars, panel.labels, values, strict=True):
            drawing.hint(bar, f"{group.name}, {label} nodes: {_figure_of(value)}")
        marks = panel.marks[i].values if i < len(panel.marks) else ()
        name = "plan" if i == n - 1 else "_"
        for place, mark in zip(at, marks, strict=False):
            if mark is not None:
                ends = (place - BAR / 2, place + BAR / 2)
                colour = drawing.theme.limit
                (line,) = axes.plot(ends, [mark] * 2, color=colour, linewidth=2, label=name)
                drawing.hint(line, f"plan, {group.name}: {_figure_of(mark)}")
                name = "_"
    _name_bars(axes, panel.labels)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the legend
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i].startswith("plan"))
    sorted_legend = {"handles": [handles[i] for i in order], "labels": [labels[i] for i in order]}
    _legend(axes, drawing.theme, loc="upper right", ncols=3, columnspacing=1, **sorted_legend)


def _forest(axes: Axes, panel: Forest, drawing: Drawing) -> None:
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
    axes.set_yticks([y for y, _ in rows], [_shown(one.label) for _, one in rows])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
        text.set_color(theme.ink)
    axes.grid(False, axis="y")
    axes.margins(x=0.08)


def _small(track: Track, drawing: Drawing) -> Figure:
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


# kind of event -> (mark, its size, role of the colour, filled)
_MARKS = {
    "anchor": ("s", 9, "ink", False),
    "accepted": ("D", 5, "good", True),
    "cleared": ("v", 6, "good", False),
    "alarm": ("v", 6, "limit", True),
    "regressed": ("v", 6, "bad", True),
}


def _figure_of(value: float | None) -> str:
    """A number in a hint, with three digits or more."""
    if value is None:
        return "-"
    return number(value, 0 if abs(value) >= 1000 else 2 if abs(value) >= 1 else 4)


_CURVE: dict[str, Callable[[Axes, Curve, int, Drawing], None]] = {
    "measured": _measured,
    "ideal": _ideal,
    "limit": _limit,
    "dense": _dense,
}
_DRAW: dict[str, Callable[[Axes, Any, Drawing], None]] = {
    "lines": _lines,
    "stack": _stack,
    "bars": _bars,
    "forest": _forest,
}
