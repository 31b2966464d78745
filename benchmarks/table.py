"""Tables: rows of medians with spread, each beside its yardstick of the same run; and Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

JUDGED_SHAPE = "tinyllama-1.1b"  # the one that the engine's targets were set for


def target(shape: str, value: float | None) -> float | None:
    """The target, for rows of the shape that it was set for."""
    return value if shape == JUDGED_SHAPE else None


@dataclass(slots=True)
class Row:
    """Samples of one quantity and of what it is measured against, taken in turns.

    `target` and `at_most` are of the ratio of medians; without a yardstick, of the median itself.
    """

    what: str
    unit: str
    yardstick: str
    samples: list[float] = field(default_factory=list)
    yard_samples: list[float] = field(default_factory=list)
    target: float | None = None  # the least
    at_most: float | None = None

    def cells(self) -> list[str]:
        """What is printed.

        >>> Row("step", "us", "", [2.0, 3.0, 2.5], at_most=2.0).cells()
        ['step', '2.5 [2.0-3.0] us', '', '', 'no (<= 2)']
        >>> Row("step", "us", "all", [1.0], [4.0], at_most=0.5).cells()[2:]
        ['all: 4.0 [4.0-4.0]', '0.25', 'yes (<= 0.5)']
        """
        ratio = median(self.samples) / median(self.yard_samples) if self.yard_samples else None
        return [
            self.what,
            f"{spread(self.samples)} {self.unit}",
            f"{self.yardstick}: {spread(self.yard_samples)}" if self.yard_samples else "",
            "" if ratio is None else f"{ratio:.{2 if ratio >= 0.1 else 3}f}",
            self._reached(ratio),
        ]

    def _reached(self, ratio: float | None) -> str:
        if self.yardstick and ratio is None:  # nothing to compare with in this run
            return ""
        value = median(self.samples) if ratio is None else ratio
        if self.target is not None:
            return f"{'yes' if value >= self.target else 'no'} (>= {self.target:g})"
        if self.at_most is not None:
            return f"{'yes' if value <= self.at_most else 'no'} (<= {self.at_most:g})"
        return ""


def spread(samples: list[float]) -> str:
    """Median and range.

    >>> spread([2.0, 1.0, 4.0]), spread([0.123, 0.2, 0.1])
    ('2.0 [1.0-4.0]', '0.123 [0.100-0.200]')
    """
    digits = 1 if median(samples) >= 2 else 3
    return f"{median(samples):.{digits}f} [{min(samples):.{digits}f}-{max(samples):.{digits}f}]"


HEAD = ["what", "median [range]", "yardstick, same run", "ratio", "target reached"]


def as_text(rows: list[Row]) -> str:
    """A table for the terminal."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def as_markdown(rows: list[Row]) -> str:
    """A table for a document."""
    return markdown_table(HEAD, (row.cells() for row in rows))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a document, of any cells.

    >>> print(markdown_table(["cell", "pairs"], [["tiny-2", "3"]]))
    | cell | pairs |
    | --- | --- |
    | tiny-2 | 3 |
    """
    return "\n".join((markdown_head(head), *map(markdown_row, rows)))


def markdown_head(head: Sequence[str]) -> str:
    """The head alone and the line below it: of tables that are printed as their rows come."""
    return f"{markdown_row(head)}\n{markdown_row(['---'] * len(head))}"


def markdown_row(cells: Iterable[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def load_line() -> str:
    """What else the machine did, at the end of a run that should have had it for itself."""
    return f"{os.cpu_count()} cores; load average at the end: {os.getloadavg()[0]:.1f}."
