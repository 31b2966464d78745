"""Progress of the work under way as plain data: its stage, how far it is, and the time left.

Knows nothing of how it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


class Course:
    """What the callers of a `Progress` told last.

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

    def course(self, what: str, done: float, total: float) -> None:
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


def in_time(seconds: float) -> str:
    """A duration for people, in one or two units.

    >>> [in_time(s) for s in (0.4, 59, 61, 3725, 7200)]
    ['0 s', '59 s', '1 min', '1 h 2 min', '2 h']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def in_bytes(size: float) -> str:
    """Bytes for people, in decimal units.

    >>> [in_bytes(n) for n in (1, 999, 1500, 12_345_678, 3.2e9)]
    ['1 byte', '999 bytes', '1.5 kB', '12.3 MB', '3.2 GB']
    """
    for unit, one in _SIZES:
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size:.0f} byte{'' if round(size) == 1 else 's'}"


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "worker"), counted(3, "worker")
    ('1 worker', '3 workers')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
