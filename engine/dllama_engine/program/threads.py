"""The thread pool (team) of a rank, whose threads share out operations inside compiled code.

The helpers are Python threads that stay in `kernels.run.team`'s loop, without the GIL, until the
team is closed. See there for how work is shared and how they sleep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.kernels.entries import DISMISS, HELP_OUT, LEAD
from dllama_engine.system.process import start_without_signals
from dllama_engine.system.scheduling import wake_on_time
from dllama_engine.tables.links import DONE
from dllama_engine.tables.team import (
    COMPUTED_NS,
    CONTROL_WORDS,
    FLOORS_AT,
    FOLLOWED,
    IDLE,
    LEFT,
    MARK,
    OP_SHIFT,
    POS,
    POSTED,
    RESTING,
    ROW,
    SLOW_AT,
    SPANS_AT,
    STATUS,
    STEP_NS,
    STEP_SPENT_NS,
    STEPS_TO_GO,
    STOPPED,
    TABLE,
    TABLE_ROWS,
    TIMELINE_AT,
    TOKENS,
    UNTIL_NS,
    WORD,
)

_LINE_BYTES = 64


class ThreadTeam:
    """Runs ranges of a table of operations; the calling thread works too.

    Args:
        n_threads: threads in all, the caller among them.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._control = _aligned_words(CONTROL_WORDS)
        self._at = int(self._control.ctypes.data)
        self._words = self._control.data  # the same: a word is written in a third of the time
        self._control[WORD] = IDLE << OP_SHIFT
        self._tables: list[Table] = []  # a late helper may still look at an old one
        self._helpers: list[threading.Thread] = []

    def install(self, table: Table) -> None:
        """From now on `run` means rows of this table, whose arrays the caller keeps alive."""
        self._tables.append(table)
        self._control[TABLE], self._control[TABLE_ROWS] = table.ctypes.data, len(table)

    def record_spans(self, row_at: int) -> None:
        """From now on time is counted in that row of `tables.spans`; 0: nowhere."""
        self._control[SPANS_AT] = row_at

    def keep_spans(self, ring_at: int) -> None:
        """From now on raw spans are kept in that ring (`tables.timeline`); 0: nowhere."""
        self._control[TIMELINE_AT] = ring_at

    def slow_down(self, per_mille: Table | None) -> None:
        """Let work take longer on purpose: by kind, int64 (KINDS,), which the caller keeps."""
        self._control[SLOW_AT] = 0 if per_mille is None else per_mille.ctypes.data

    def keep_floors(self, floors: Table | None) -> None:
        """Let operations take at least as long as an emulated memory reads (`tables.operations`).

        Args:
            floors: picoseconds, of the installed table's rows, which the caller keeps; None: none.
        """
        if floors is not None:
            wake_on_time()
        self._control[FLOORS_AT] = 0 if floors is None else floors.ctypes.data

    def run(
        self,
        first: int,
        last: int,
        tokens: int,
        pos: int = 0,
        row: int = 0,
        attend: Callable[[int, int], None] = lambda op, status: None,
        second: tuple[int, int] = (0, 0),
    ) -> int:
        """Run operations [first, last) of the table one after another.

        Args:
            first: first operation.
            last: one past the last operation.
            tokens: tokens in the batch.
            pos: position of the first token.
            row: first row of x that a norm reads.
            attend: called with an operation and its status (`links.AGAIN`, ...) when compiled
                code cannot go on alone, or has not let Python look for signals for a while.
            second: tokens and position of the second half of a batch that is cut in two.

        Returns:
            How it ended: DONE, or how a decode loop does (`tables.team`).
        """
        if len(self._helpers) < self.n_threads - 1:
            self._start()
        words, status = self._words, DONE
        words[MARK] = words[POSTED] = 0
        words[TOKENS], words[POS], words[ROW] = tokens, pos, row
        words[TOKENS + 1], words[POS + 1] = second
        while first < last or status == RESTING:
            LEAD(self._at, first, last)
            first, status = words[STOPPED], words[STATUS]
            if status >= LEFT:
                return status
            if status not in (DONE, RESTING):
                attend(first, status)
        return DONE

    def begin_loop(self, start_ns: int, spent_ns: int) -> None:
        """The next run is a decode loop, whose first step was asked for at `start_ns`.

        Args:
            start_ns: by `time.perf_counter_ns`.
            spent_ns: what the links had spent then.
        """
        words = self._words
        words[FOLLOWED] = words[COMPUTED_NS] = 0
        words[STEP_NS], words[STEP_SPENT_NS] = start_ns, spent_ns

    def begin_greedy_loop(self, start_ns: int, n_steps: int, until_ns: int) -> None:
        """The next run is a root's decode loop.

        Args:
            start_ns: when its first step began, by `time.perf_counter_ns`.
            n_steps: how many steps there may be.
            until_ns: when no other one is begun, by `time.perf_counter_ns`.
        """
        words = self._words
        words[FOLLOWED], words[STEP_NS] = 0, start_ns
        words[STEPS_TO_GO], words[UNTIL_NS] = n_steps, until_ns

    @property
    def loop(self) -> tuple[int, int, int, int]:
        """Of the last decode loop: FOLLOWED, COMPUTED_NS, STEP_NS and STEP_SPENT_NS."""
        words = self._words
        return words[FOLLOWED], words[COMPUTED_NS], words[STEP_NS], words[STEP_SPENT_NS]

    def _start(self) -> None:
        while len(self._helpers) < self.n_threads - 1:
            helper = threading.Thread(
                target=HELP_OUT,
                args=(self._at,),
                name="dllama-kernel",
                daemon=True,
            )
            start_without_signals(helper)
            self._helpers.append(helper)

    def close(self) -> None:
        """Let the helpers end."""
        DISMISS(self._at)
        for helper in self._helpers:
            helper.join()
        self._helpers.clear()


def _aligned_words(n: int) -> Table:
    raw = np.zeros(8 * n + _LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % _LINE_BYTES
    return raw[start : start + 8 * n].view(np.int64)
