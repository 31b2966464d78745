"""What goes on, while it goes on: one live line on a terminal, plain lines elsewhere.

Knows nothing of pytest: it writes to the stream it is given, and whoever gives the stream sees to
it that no capture stands in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from pytest_dllama.hosts.terminal import gives_way

BAR_WIDTH = 30


class PlainLines:
    """One line a stage; details are left out."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line

    def stage(self, text: str) -> None:
        """Print the stage."""
        self._write_line(f"dllama: {text}")

    def detail(self, text: str) -> None:
        """Nothing."""

    def bar(self, done: float, total: float) -> None:
        """Nothing."""

    def settle(self, text: str) -> None:
        """Print the line."""
        self._write_line(f"dllama: {text}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing to set up."""
        yield


class LiveLine:
    """One line that is drawn anew a few times a second and leaves nothing behind."""

    def __init__(self, file: TextIO, begin_line: Callable[[], None] = lambda: None) -> None:
        self._begin_line = begin_line
        self._console = Console(file=file, force_terminal=True, highlight=False)
        self._spinner = Spinner("dots")
        self._stage = ""
        self._detail = ""
        self._bar: tuple[float, float] | None = None
        self._since_s = time.monotonic()

    def stage(self, text: str) -> None:
        """Show a new stage."""
        self._stage, self._detail, self._bar = text, "", None
        self._since_s = time.monotonic()

    def detail(self, text: str) -> None:
        """Show how far the stage is."""
        self._detail, self._bar = text, None

    def bar(self, done: float, total: float) -> None:
        """Show a bar."""
        self._bar = (done, total)

    def settle(self, text: str) -> None:
        """Leave a line above the live one."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draw the line while the body runs."""
        self._begin_line()
        live = Live(
            get_renderable=self._render,
            console=self._console,
            transient=True,
            refresh_per_second=5,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with live, gives_way(live):
            yield

    def _render(self) -> Table:
        cells: list[Spinner | ProgressBar | str] = [self._spinner, self._stage]
        if self._bar:
            done, total = self._bar
            cells.append(ProgressBar(total=total or 1, completed=done, width=BAR_WIDTH))
        cells += [self._detail, f"{time.monotonic() - self._since_s:.0f} s"]
        row = Table.grid(padding=(0, 1))
        for _ in cells:
            row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(*cells)
        return row


class Silent:
    """Nothing at all."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def bar(self, done: float, total: float) -> None:
        """Nothing."""

    def settle(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing to set up."""
        yield
