"""Energy between two times, from the readings of a meter: plain numbers in, plain numbers out.

Power (W) is integrated by the trapezoidal rule; a counter of energy (J) is taken as it stands. Both
become one curve, energy since the first reading, and within an interval between two readings the
power is their mean. A curve that cannot tell is an error with its reason, never zero.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

FEWEST_READINGS = 3  # within a window: with fewer, what lies around it would be told as its own
LONGEST_GAP = 5  # times the usual interval between two readings
_HALF_HOUR_S = 1800.0
_LARGEST_SHIFT = 28  # half hours: no two time zones are farther apart


class EnergyUnknown(ValueError):
    """A meter that cannot tell the energy of a window; the message says why."""


@dataclass(frozen=True, slots=True)
class Window:
    """One request, in seconds since the epoch by the controller's clock."""

    start_s: float
    first_token_s: float | None
    end_s: float


@dataclass(frozen=True, slots=True)
class EnergyCurve:
    """Energy since the first reading.

    Args:
        times_s: of the readings, rising; seconds since the epoch.
        joules: up to each of them.
    """

    times_s: tuple[float, ...]
    joules: tuple[float, ...]

    @classmethod
    def of_watts(cls, times_s: Sequence[float], watts: Sequence[float]) -> EnergyCurve:
        """From readings of power.

        >>> EnergyCurve.of_watts([10.0, 11.0, 13.0], [2.0, 4.0, 4.0]).joules
        (0.0, 3.0, 11.0)
        """
        points = list(zip(times_s, watts, strict=True))
        steps = [(t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairwise(points)]
        return cls(tuple(times_s), tuple(accumulate(steps, initial=0.0))[: len(points)])

    @classmethod
    def of_joules(cls, times_s: Sequence[float], joules: Sequence[float]) -> EnergyCurve:
        """From a counter that only rises; where it begins does not matter."""
        return cls(tuple(times_s), tuple(value - joules[0] for value in joules))

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Energy of a window, in J.

        Raises:
            EnergyUnknown: the readings do not reach over it, are too few in it, or leave a gap.
        """
        self._check(start_s, end_s)
        return self._at(end_s) - self._at(start_s)

    def _check(self, start_s: float, end_s: float) -> None:
        times = self.times_s
        if len(times) < 2:
            raise EnergyUnknown("the meter gave no two readings")
        if start_s < times[0] or end_s > times[-1]:
            raise EnergyUnknown(f"the meter has no readings of it{self._shift(start_s, end_s)}")
        first, last = bisect_left(times, start_s), bisect_right(times, end_s)
        if last - first < FEWEST_READINGS:
            raise EnergyUnknown(
                f"{end_s - start_s:.3f} s are too short for a meter that is read every "
                f"{self._interval_s():.2g} s: {FEWEST_READINGS} readings are needed in them"
            )
        around = times[bisect_right(times, start_s) - 1 : bisect_left(times, end_s) + 1]
        gap_s = max(after - before for before, after in pairwise(around))
        if gap_s > LONGEST_GAP * self._interval_s():
            raise EnergyUnknown(
                f"the meter gave no reading for {gap_s:.1f} s of it, and one every "
                f"{self._interval_s():.2g} s otherwise"
            )

    def _interval_s(self) -> float:
        """Between two readings, the usual time."""
        return statistics.median(after - before for before, after in pairwise(self.times_s))

    def _shift(self, start_s: float, end_s: float) -> str:
        """A hint, where stamps of another time zone would explain it."""
        for half_hours in sorted(range(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1), key=abs):
            moved_s = half_hours * _HALF_HOUR_S
            if self.times_s[0] + moved_s <= start_s and end_s <= self.times_s[-1] + moved_s:
                hours = abs(half_hours) / 2
                which = "earlier" if half_hours > 0 else "later"
                return (
                    f", but of a time {hours:g} h {which}: its stamps look like those of another "
                    "time zone; write them with their zone (+09:00) or as seconds since the epoch"
                )
        return ""

    def _at(self, time_s: float) -> float:
        """Energy up to a time between the first and the last reading."""
        after = min(max(bisect_left(self.times_s, time_s), 1), len(self.times_s) - 1)
        t0, t1 = self.times_s[after - 1], self.times_s[after]
        j0, j1 = self.joules[after - 1], self.joules[after]
        return j0 + (j1 - j0) * (time_s - t0) / (t1 - t0)


def per_token_j(decode_j: float | None, n_output_tokens: int) -> float | None:
    """Energy of one token: that between the first and the last token, by the gaps between them."""
    return None if decode_j is None or n_output_tokens < 2 else decode_j / (n_output_tokens - 1)


def tokens_per_joule(n_output_tokens: int, request_j: float | None) -> float | None:
    """Tokens/s for each W: output tokens / energy of the request."""
    return n_output_tokens / request_j if request_j else None
