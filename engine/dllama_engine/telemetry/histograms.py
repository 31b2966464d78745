"""How long exchanges took and waited, by link: histograms that compiled code counts in.

They take the same room whatever the run's length, and no time is off by more than 0.8 %
(`tables.histograms`); the largest and the sum are exact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Table
from dllama_engine.kernels.entries import COUNT_PENDING
from dllama_engine.tables.histograms import (
    BUCKETS,
    DURATION,
    FIRST_BUCKET,
    HISTOGRAM_WORDS,
    MAX_NS,
    MEASURES,
    OCTAVE_BITS,
    PEER_TIMES,
    PER_OCTAVE,
    RANKS,
    ROOM,
    ROWS_AT,
    SUM_NS,
    TABLE_AT,
    USED,
    WAITING,
)
from dllama_engine.tables.links import NOTHING
from dllama_engine.telemetry.events.ranks import LinkTimes, Times

_ROOM = 4096  # hundreds of tokens of a small model, a few of a large one: counted in 100 us or so


def middle_ns(bucket: int) -> int:
    """The time that stands for a bucket, in nanoseconds: the middle of those that belong to it.

    >>> [middle_ns(bucket) for bucket in (0, 127, 128, 129, 192)]
    [0, 127, 129, 131, 258]
    """
    octave = max(0, (bucket >> OCTAVE_BITS) - 1)
    least = (bucket - (octave << OCTAVE_BITS)) << octave
    return least + (1 << octave >> 1)


_MIDDLES = tuple(map(middle_ns, range(BUCKETS)))
assert _MIDDLES[2 * PER_OCTAVE - 1] == 2 * PER_OCTAVE - 1  # one a nanosecond, so far


class LinkHistograms:
    """One rank's histograms: a duration and a waiting time a link, int64.

    Args:
        world_size: number of ranks.
        room: exchanges that may wait to be counted.
    """

    def __init__(self, world_size: int, room: int = _ROOM) -> None:
        self._table: Table = np.zeros((world_size, MEASURES, HISTOGRAM_WORDS), np.int64)
        words = ROWS_AT + room * (PEER_TIMES + world_size)
        self._pending: Table = np.full(words, NOTHING, np.int64)  # no request is first to touch it
        self._pending[[USED, ROOM, RANKS]] = 0, room, world_size
        self._pending[TABLE_AT] = self._table.ctypes.data

    @property
    def address(self) -> int:
        """Where compiled code notes what is to be counted."""
        return int(self._pending.ctypes.data)

    def forget(self) -> None:
        """What was noted and counted so far is not of the request."""
        self._pending[USED] = 0
        self._table[:] = 0

    def told(self) -> tuple[LinkTimes, ...]:
        """As the event stream has them: links on which something was due."""
        if self._pending[USED]:
            COUNT_PENDING(self.address)
        return tuple(
            LinkTimes(peer, times_of(measures[DURATION]), times_of(measures[WAITING]))
            for peer, measures in enumerate(self._table)
            if measures[DURATION, FIRST_BUCKET:].any()
        )


def times_of(histogram: npt.NDArray[np.int64]) -> Times:
    """A histogram, int64 (HISTOGRAM_WORDS,), as the event stream has it."""
    counts = histogram[FIRST_BUCKET:]
    used = np.flatnonzero(counts).tolist()
    return Times(
        n=int(counts.sum()),
        sum_us=int(histogram[SUM_NS]) / 1e3,
        max_us=int(histogram[MAX_NS]) / 1e3,
        counts=tuple((_MIDDLES[bucket], int(counts[bucket])) for bucket in used),
    )
