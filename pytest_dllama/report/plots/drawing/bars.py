"""Bars by node count: stacked parts, or groups side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_dllama.metrics.parts import OTHER
from pytest_dllama.report.figures.charts import Bars, Stack
from pytest_dllama.report.figures.token_time import PART_NAMES
from pytest_dllama.report.plots.drawing.canvas import HATCHES, Drawing, figure_of, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR = 0.36
FEWEST_BARS = 3  # that a panel has room for


def draw_stack(axes: Axes, panel: Stack, drawing: Drawing) -> None:
    """Parts on top of each other, the first lowest."""
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
            drawing.hint(bar, f"{name}, {label} nodes: {figure_of(value)} ms")
        below = [a + b for a, b in zip(below, values, strict=True)]
    _name_bars(axes, panel.labels)
    handles, labels = axes.get_legend_handles_labels()  # top of the bar first
    where = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    legend(axes, drawing.theme, handles=handles[::-1], labels=labels[::-1], **where)


def draw_bars(axes: Axes, panel: Bars, drawing: Drawing) -> None:
    """Groups side by side, each with the mark of its plan."""
    n = len(panel.groups)
    for i, group in enumerate(panel.groups):
        at = [place + (i - (n - 1) / 2) * BAR for place in range(len(panel.labels))]
        values = [value or 0.0 for value in group.values]
        bars = axes.bar(
            at, values, BAR * 0.92, color=drawing.colour(i), label=group.name,
            hatch=HATCHES[i % len(HATCHES)], edgecolor=drawing.theme.surface, linewidth=0.6,
        )  # fmt: skip
        for bar, label, value in zip(bars, panel.labels, values, strict=True):
            drawing.hint(bar, f"{group.name}, {label} nodes: {figure_of(value)}")
        marks = panel.marks[i].values if i < len(panel.marks) else ()
        name = "plan" if i == n - 1 else "_"
        for place, mark in zip(at, marks, strict=False):
            if mark is not None:
                ends = (place - BAR / 2, place + BAR / 2)
                colour = drawing.theme.limit
                (line,) = axes.plot(ends, [mark] * 2, color=colour, linewidth=2, label=name)
                drawing.hint(line, f"plan, {group.name}: {figure_of(mark)}")
                name = "_"
    _name_bars(axes, panel.labels)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the legend
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i].startswith("plan"))
    sorted_legend = {"handles": [handles[i] for i in order], "labels": [labels[i] for i in order]}
    legend(axes, drawing.theme, loc="upper right", ncols=3, columnspacing=1, **sorted_legend)


def _name_bars(axes: Axes, labels: Sequence[str]) -> None:
    """A label below each bar; few bars are no wider than many."""
    n, wanted = len(labels), max(len(labels), FEWEST_BARS)
    axes.set_xticks(range(n), labels)
    axes.set_xlim((n - 1 - wanted) / 2, (n - 1 + wanted) / 2)
    axes.grid(False, axis="x")
