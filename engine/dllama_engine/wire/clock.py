"""Clock offset between a worker and the root, measured over the engine's own links.

Cristian's algorithm (1989): the worker's clock was read at some time between the question and the
answer, so half of a round trip bounds the error, however unlike the two ways are. Asked at both
ends of a request, what lies between is interpolated: two quartz clocks drift by some parts in a
million.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

from dllama_engine.wire.frames import PROBE
from dllama_engine.wire.links import Links

QUESTIONS = 16  # the quickest is taken
_STAMP = struct.Struct("<q")
_now_ns = time.perf_counter_ns


@dataclass(frozen=True, slots=True)
class Reading:
    """Their clock minus ours at a time of ours; the true offset is at most `error_ns` away."""

    at_ns: int
    offset_ns: int
    error_ns: int


@dataclass(frozen=True, slots=True)
class Clock:
    """A rank's clock against the root's, by a reading at the start and one at the end."""

    first: Reading
    last: Reading

    @property
    def error_ns(self) -> int:
        """How far off a time may be."""
        return max(self.first.error_ns, self.last.error_ns)

    @property
    def drift_ppm(self) -> float:
        """By how much their clock seems to be faster, in parts of a million."""
        passed_ns = self.last.at_ns - self.first.at_ns
        return 1e6 * (self.last.offset_ns - self.first.offset_ns) / passed_ns if passed_ns else 0.0

    def on_root(self, theirs_ns: int) -> int:
        """A time of theirs on the root's clock.

        >>> clock = Clock(Reading(1000, 500, 2), Reading(2000, 510, 3))
        >>> clock.on_root(1500), clock.on_root(2510), clock.error_ns
        (1000, 2000, 3)
        """
        begun_ns = self.first.at_ns + self.first.offset_ns
        ended_ns = self.last.at_ns + self.last.offset_ns
        if ended_ns <= begun_ns:
            return theirs_ns - self.first.offset_ns
        passed_ns = self.last.at_ns - self.first.at_ns
        return self.first.at_ns + (theirs_ns - begun_ns) * passed_ns // (ended_ns - begun_ns)


SAME = Clock(Reading(0, 0, 0), Reading(0, 0, 0))  # the root's own


def between(first: Reading, last: Reading, *, same_boot: bool) -> Clock:
    """The clock of a rank by its two readings.

    Processes of one boot read one clock, unless a time namespace moves it: where neither reading
    speaks against that, it is the root's own, and exact.

    >>> near = Reading(1000, 30, 50)
    >>> between(near, near, same_boot=True).error_ns, between(near, near, same_boot=False).error_ns
    (0, 50)
    """
    agree = all(abs(reading.offset_ns) <= reading.error_ns for reading in (first, last))
    return SAME if same_boot and agree else Clock(first, last)


def ask(links: Links, rank: int) -> Reading:
    """Ask a worker that answers (`answer`) what its clock says.

    Raises:
        WorkerLost: it does not answer before the links' deadline.
    """
    found = []
    stamp = bytearray(_STAMP.size)
    for _ in range(QUESTIONS):
        sent_ns = _now_ns()
        links.exchange(PROBE, {rank: b""}, {rank: stamp})
        received_ns = _now_ns()
        (theirs_ns,) = _STAMP.unpack(stamp)
        found.append((received_ns - sent_ns, (sent_ns + received_ns) // 2, theirs_ns))
    trip_ns, middle_ns, theirs_ns = min(found)
    return Reading(middle_ns, theirs_ns - middle_ns, (trip_ns + 1) // 2)


def answer(links: Links) -> None:
    """Answer the root's questions.

    Raises:
        WorkerLost: it does not ask before the links' deadline.
    """
    for _ in range(QUESTIONS):
        links.exchange(PROBE, {}, {0: bytearray()})
        links.exchange(PROBE, {0: _STAMP.pack(_now_ns())}, {})
