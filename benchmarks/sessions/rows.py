"""A table of sessions of the suites: told while it grows, within minutes, into a document."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks import page
from benchmarks.sessions.suites import suite_cells
from benchmarks.table import load_line, markdown_head, markdown_row
from pytest_dllama.hosts.controller import probe_environment
from pytest_dllama.record.cell import CellRecord

MINUTES = 8.0
_LEAST_S = 20.0  # a session is not worth its begin in less


@dataclass(frozen=True, slots=True)
class Case:
    """A session: what its rows are called, and what the suites are asked."""

    label: str
    options: tuple[str, ...]


class Sessions:
    """Runs cases one by one until the time is over; what is under way then is ended, and not told.

    Args:
        cases: in their order.
        minutes: of all together.
        run: measures one, within seconds, or raises TimeoutExpired.
        clock: seconds.
        say: takes a line of progress.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        minutes: float,
        run: Callable[..., Sequence[CellRecord]] = suite_cells,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self._cases, self._minutes = cases, minutes
        self._run, self._clock, self._say = run, clock, say
        self.done = 0

    def cells(self) -> Iterator[tuple[str, CellRecord]]:
        """Each cell, and the label of its case."""
        begun_s = self._clock()
        for number, case in enumerate(self._cases, start=1):
            passed_s = self._clock() - begun_s
            left_s = 60 * self._minutes - passed_s
            if left_s < _LEAST_S:
                return
            asked = " ".join(case.options)
            self._say(
                f"{number} of {len(self._cases)}: {asked} ({passed_s:.0f} s so far, at most "
                f"{60 * self._minutes:.0f})"
            )
            try:
                found = self._run(*case.options, timeout_s=left_s)
            except subprocess.TimeoutExpired:
                return
            self.done += 1
            yield from ((case.label, cell) for cell in found)

    @property
    def line(self) -> str:
        """How many there were, and how to get the others.

        >>> Sessions([Case("a", ())], 8.0).line
        '0 of 1 sessions in 8 min; --minutes N gives more time'
        """
        text = f"{self.done} of {len(self._cases)} sessions"
        if self.done == len(self._cases):
            return text
        return f"{text} in {self._minutes:g} min; --minutes N gives more time"


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long, and where to."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, metavar="N",
        help="end after so long with what there is (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the table into this document too"
    )


def show(
    name: str,
    head: Sequence[str],
    sessions: Sessions,
    row: Callable[[str, CellRecord], Sequence[str]],
    document: Path | None,
) -> None:
    """Measure and print row by row, then write all of it.

    Args:
        name: of the table's place in the document.
        head: of its columns.
        sessions: to be measured.
        row: of a cell and its case's label.
        document: to write into; None: none.

    Raises:
        NoMarkers: the document has no place for it; said before anything is measured.
    """
    if document is not None:
        page.written(document.read_text("utf-8"), name)
    lines = [markdown_head(head)]
    print(lines[0], flush=True)
    for label, cell in sessions.cells():
        lines.append(markdown_row(row(label, cell)))
        print(lines[-1], flush=True)
    caption = (
        f"{date.today()}, {probe_environment().cpu_model}, {load_line().rstrip('.')}; "
        f"{sessions.line}."
    )
    print(f"\n{caption}")
    if document is not None:
        page.write(document, name, "\n".join([caption, "", *lines]))
