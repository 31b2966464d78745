"""Rows of results: medians with spread, each beside its yardstick of the same run."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Row:
    """Samples of one quantity and of what it is measured against, taken in turns."""

    what: str
    unit: str
    yardstick: str
    samples: list[float] = field(default_factory=list)
    yard_samples: list[float] = field(default_factory=list)
    target: float | None = None  # the least ratio of medians

    def cells(self) -> list[str]:
        """What is printed."""
        ratio = median(self.samples) / median(self.yard_samples) if self.yard_samples else None
        reached = ""
        if ratio is not None and self.target is not None:
            reached = f"{'yes' if ratio >= self.target else 'no'} (>= {self.target:g})"
        return [
            self.what,
            f"{spread(self.samples)} {self.unit}",
            f"{self.yardstick}: {spread(self.yard_samples)}" if self.yard_samples else "",
            "" if ratio is None else f"{ratio:.2f}",
            reached,
        ]


def spread(samples: list[float]) -> str:
    """Median and range.

    >>> spread([2.0, 1.0, 4.0])
    '2.0 [1.0-4.0]'
    """
    return f"{median(samples):.1f} [{min(samples):.1f}-{max(samples):.1f}]"


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
    cells = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
