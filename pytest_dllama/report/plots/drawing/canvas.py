"""What every kind of panel is drawn with: colours, hints, legends, numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_dllama.report.figures.charts import Chart, Stack
from pytest_dllama.report.plots.drawing.theme import Theme
from pytest_dllama.report.text.markdown import printable
from pytest_dllama.report.text.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++", "**", "||")


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


def shown(text: str, most: int = 44) -> str:
    """One line of at most so many characters."""
    line = printable(text).replace("\n", " ")
    return line if len(line) <= most else f"{line[: most - 1]}…"


def legend(axes: Axes, theme: Theme, **where: Any) -> None:
    """Of the panel's series; names are no formulas."""
    found = axes.legend(fontsize=8, frameon=False, labelcolor=theme.ink, **where)
    for text in found.get_texts():
        text.set_parse_math(False)


def figure_of(value: float | None) -> str:
    """A number in a hint, with three digits or more."""
    if value is None:
        return "-"
    return number(value, 0 if abs(value) >= 1000 else 2 if abs(value) >= 1 else 4)
