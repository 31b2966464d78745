"""Live progress: one line that changes on a terminal, a line now and then elsewhere.

Knows nothing of pytest: it writes to the stream it is given, and whoever gives the stream sees to
it that no capture stands in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TransferSpeedColumn,
)
from rich.text import Text

from pytest_dllama.amounts import in_time
from pytest_dllama.backends.base import Backend, Compiles
from pytest_dllama.hosts.base import Progress as ProgressProtocol
from pytest_dllama.hosts.progress_state import ProgressState
from pytest_dllama.hosts.terminal import gives_way

BAR_WIDTH = 16
WIDE = 100  # columns of a terminal that has room for a bar beside bytes and their rate
QUIET_S = 30.0  # without a terminal a sign of life comes so often


def announce_compilation(backend: Backend, progress: ProgressProtocol) -> None:
    """Say it where this machine's first run takes long for a reason that the second has not."""
    if isinstance(backend, Compiles) and backend.must_compile():
        progress.settle(
            "first run on this machine: compiling the engine's kernels, once; about half a minute, "
            "more on a small board"
        )


class Silent:
    """Nothing at all; the others show some of it."""

    def overall(self, what: str, done: float, total: float) -> None:
        """Nothing."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def bar(self, done: float, total: float) -> None:
        """Nothing."""

    def transfer(self, done_bytes: float, total_bytes: float) -> None:
        """Nothing."""

    def settle(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing to set up."""
        yield


class PlainLines:
    """Results as they come; where the work is only when nothing was said for a while.

    Args:
        write_line: takes a line; called from a thread of its own too.
        quiet_s: for how long nothing may be said.
    """

    def __init__(self, write_line: Callable[[str], None], quiet_s: float = QUIET_S) -> None:
        self._write_line, self._quiet_s = write_line, quiet_s
        self._state = ProgressState()
        self._turn = threading.Lock()
        self._last_s = time.monotonic()

    def overall(self, what: str, done: float, total: float) -> None:
        """Note how far all of the work is."""
        self._state.overall(what, done, total)

    def stage(self, text: str) -> None:
        """Note what begins."""
        self._state.stage(text)

    def detail(self, text: str) -> None:
        """Note how far the stage is."""
        self._state.detail(text)

    def bar(self, done: float, total: float) -> None:
        """Note how far the stage is."""
        self._state.fill(done, total, is_transfer=False)

    def transfer(self, done_bytes: float, total_bytes: float) -> None:
        """Note how far the stage is."""
        self._state.fill(done_bytes, total_bytes, is_transfer=True)

    def settle(self, text: str) -> None:
        """Print the line."""
        with self._turn:
            self._last_s = time.monotonic()
            self._write_line(f"dllama: {text}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Say where the work is, now and then, while the body runs."""
        is_over = threading.Event()
        teller = threading.Thread(target=self._tell, args=(is_over,), daemon=True)
        self._last_s = time.monotonic()
        teller.start()
        try:
            yield
        finally:
            is_over.set()
            teller.join()

    def _tell(self, is_over: threading.Event) -> None:
        while not is_over.wait(max(self._last_s + self._quiet_s - time.monotonic(), 0.01)):
            with self._turn:
                if not is_over.is_set() and time.monotonic() - self._last_s >= self._quiet_s:
                    self._last_s = time.monotonic()
                    self._write_line(f"dllama: {self._state.in_words()}")


class LiveLine:
    """One line that is drawn anew a few times a second and leaves nothing behind.

    Args:
        file: the terminal.
        begin_line: called before the line is drawn for the first time.
    """

    def __init__(self, file: TextIO, begin_line: Callable[[], None] = lambda: None) -> None:
        self._begin_line = begin_line
        self._console = Console(file=file, force_terminal=True, highlight=False)
        self._state = ProgressState()
        self._progress: Progress | None = None

    def overall(self, what: str, done: float, total: float) -> None:
        """Show how far all of the work is, and how long it will still take."""
        self._state.overall(what, done, total)

    def stage(self, text: str) -> None:
        """Show a new stage."""
        self._state.stage(text)
        self._begin_task()

    def detail(self, text: str) -> None:
        """Show how far the stage is."""
        if self._state.detail(text):
            self._begin_task()

    def bar(self, done: float, total: float) -> None:
        """Show a bar."""
        self._state.fill(done, total, is_transfer=False)
        self._fill(done, total)

    def transfer(self, done_bytes: float, total_bytes: float) -> None:
        """Show bytes, their rate and how long they will still take."""
        self._state.fill(done_bytes, total_bytes, is_transfer=True)
        self._fill(done_bytes, total_bytes)

    def settle(self, text: str) -> None:
        """Leave a line above the live one."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draw the line while the body runs."""
        self._begin_line()
        progress = Progress(
            *_columns(self._state, self._console),
            console=self._console,
            transient=True,
            refresh_per_second=5,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress = progress
        self._begin_task()
        try:
            with progress, gives_way(progress.live):
                yield
        finally:
            self._progress = None

    def _begin_task(self) -> None:
        """A task of its own for each stage: a rate is of this stage alone."""
        if self._progress is not None:
            old = self._progress.task_ids
            self._progress.add_task("", total=None)
            for task in old:
                self._progress.remove_task(task)

    def _fill(self, done: float, total: float) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[-1], completed=done, total=total or 1)


def _columns(state: ProgressState, console: Console) -> Sequence[ProgressColumn]:
    """Spinner and words, then what the stage has of bar, bytes and rate, then the time left."""

    def measured(task: Task) -> bool:
        return task.total is not None

    def bytes_known(task: Task) -> bool:
        return measured(task) and state.is_transfer

    def bar_fits(task: Task) -> bool:
        return measured(task) and (not state.is_transfer or console.width >= WIDE)

    spinner = SpinnerColumn()
    rest = (
        _Sometimes(BarColumn(BAR_WIDTH), bar_fits),
        _Sometimes(DownloadColumn(), bytes_known),
        _Sometimes(TransferSpeedColumn(), bytes_known),
        _Left(state),
    )
    return spinner, _Words(state, console, (spinner, *rest)), *rest


class _Sometimes(ProgressColumn):
    """A column that is there where it has something to say."""

    def __init__(self, inner: ProgressColumn, is_shown: Callable[[Task], bool]) -> None:
        super().__init__()
        self._inner, self._is_shown = inner, is_shown

    def render(self, task: Task) -> RenderableType:
        """The inner column, or nothing."""
        return self._inner.render(task) if self._is_shown(task) else Text("")


class _Left(ProgressColumn):
    """How long it will still take: a transfer, else all of the work."""

    def __init__(self, state: ProgressState) -> None:
        super().__init__()
        self._state = state

    def render(self, task: Task) -> Text:
        """Nothing where it is not known."""
        if task.total is None or not self._state.is_transfer:
            return Text(self._state.left())
        left_s = task.time_remaining
        return Text("" if left_s is None else f"{in_time(left_s)} left")


class _Words(ProgressColumn):
    """What is done, the most important first, cut to the room that the other columns leave."""

    def __init__(
        self, state: ProgressState, console: Console, others: Sequence[ProgressColumn]
    ) -> None:
        super().__init__()
        self._state, self._console, self._others = state, console, others

    def render(self, task: Task) -> Text:
        """One line."""
        measure = self._console.measure
        widths = [measure(column.render(task)).maximum + 1 for column in self._others]
        room = max(self._console.width - sum(widths), 8)
        text = Text("  ".join(self._state.words()), no_wrap=True)
        took = f"  {self._state.took()}"
        if text.cell_len + len(took) <= room:
            text.append(took)
        text.truncate(room, overflow="ellipsis")
        return text
