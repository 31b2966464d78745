"""Progress of the work under way as plain data: its stage, how far it is, and the time left.

Knows nothing of how it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_dllama.amounts import in_bytes, in_time


class ProgressState:
    """What was last reported through a `Progress`.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.what = self.stage_text = self.detail_text = ""
        self.measure: tuple[float, float] | None = None  # done, total
        self.is_transfer = False
        self._all: tuple[float, float] | None = None
        self._begun = (clock(), 0.0)  # when, and how much was done then
        self._told_s = clock()
        self._stage_s = clock()

    def overall(self, what: str, done: float, total: float) -> None:
        """How far all of the work is: in words, and in whatever unit."""
        if self._all is None or done < self._all[0]:  # the first time, or other work
            self._begun = (self._clock(), done)
        self.what, self._all, self._told_s = what, (done, total), self._clock()

    def stage(self, text: str) -> None:
        """Something new begins."""
        self.stage_text, self.detail_text, self.measure = text, "", None
        self._stage_s = self._clock()

    def detail(self, text: str) -> bool:
        """How far it is, in words; whether they are other words than before."""
        is_new = text != self.detail_text
        self.detail_text = text
        if is_new:
            self.measure = None
        return is_new

    def fill(self, done: float, total: float, *, is_transfer: bool) -> None:
        """How far it is, in numbers; of a transfer in bytes."""
        self.measure, self.is_transfer = (done, total), is_transfer

    def left_s(self) -> float | None:
        """How long all of the work will still take, if it goes on as it went; None: not known."""
        if self._all is None:
            return None
        begun_s, at_first = self._begun
        done, total = self._all
        if done <= at_first:
            return None
        one_s = (self._told_s - begun_s) / (done - at_first)
        since_s = min(self._clock() - self._told_s, one_s)  # of the one that is being done
        return max(one_s * (total - done) - since_s, 0.0)

    def words(self) -> list[str]:
        """What is done, the most important first."""
        return [text for text in (self.what, self.stage_text, self.detail_text) if text]

    def took(self) -> str:
        """How long the stage has been going on, in words."""
        return in_time(self._clock() - self._stage_s)

    def left(self) -> str:
        """The time left, in words; empty where it is not known."""
        seconds = self.left_s()
        return "" if seconds is None else f"{in_time(seconds)} left"

    def in_words(self) -> str:
        """All of it in one sentence, for a line that stays."""
        parts = (*self.words(), self._measured(), self.took(), self.left())
        return ", ".join(part for part in parts if part)

    def _measured(self) -> str:
        if self.measure is None:
            return ""
        done, total = self.measure
        if not self.is_transfer:
            return f"{done:g} of {total:g}"
        rate = done / max(self._clock() - self._stage_s, 1e-9)
        return f"{in_bytes(done)} of {in_bytes(total)}, {in_bytes(rate)}/s"
