"""One table in four forms: for a terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pytest_dllama.report.text.markdown import escape, printable

FORMATS = ("text", "md", "csv", "json")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people, and the same as data."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: Sequence[dict[str, Any]]  # a row each: numbers unrounded, units in the names
    left: int = 1  # columns that are words: aligned to the left

    def render(self, form: str) -> str:
        """In one of FORMATS, without a line end behind the last line."""
        if form == "json":
            return json.dumps(list(self.data), indent=1, ensure_ascii=False)
        if form == "csv":
            return self._csv()
        return self._markdown() if form == "md" else self._text()

    def _markdown(self) -> str:
        marks = ["---" if i < self.left else "---:" for i in range(len(self.head))]
        head, *rows = ([str(escape(cell)) for cell in row] for row in (self.head, *self.rows))
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *rows))

    def _csv(self) -> str:
        names = list(dict.fromkeys(name for row in self.data for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.data)
        return text.getvalue().rstrip("\n")

    def _text(self) -> str:
        table = RichTable(box=SIMPLE_HEAD, pad_edge=False)
        for i, name in enumerate(self.head):
            table.add_column(name, justify="left" if i < self.left else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(Text(printable(cell).replace("\n", " ")) for cell in row))
        width = max(shutil.get_terminal_size((100, 24)).columns, self._width())
        console = Console(width=width, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())

    def _width(self) -> int:
        """Enough for every cell: a file or a pipe is never cut."""
        columns = zip(self.head, *self.rows, strict=True)
        return sum(max(map(len, column)) + 4 for column in columns)
