"""Time in which this process itself was away: stopped, or its machine asleep.

A deadline counts a peer's silence. Whoever was away cannot say that its peers were silent, so that
time is taken off: it shows as a gap between two looks that is longer than any look takes.
"""

from __future__ import annotations

import time

_now_ns = time.perf_counter_ns


class Absence:
    """Notices it, if asked at every look.

    Args:
        longest_ns: how long it may be from one look to the next while this process runs.
        looked_ns: the first look, of `time.perf_counter_ns`; 0: there was none yet.
    """

    def __init__(self, longest_ns: int, looked_ns: int = 0) -> None:
        self._longest_ns = longest_ns
        self._looked_ns = looked_ns

    def since_look_ns(self, moved_ns: int = 0) -> int:
        """How long this process was away since the last call; 0 if it was not.

        Args:
            moved_ns: when a peer was last heard of; what lies before does not count.
        """
        now_ns = _now_ns()
        gap_ns = now_ns - max(self._looked_ns, moved_ns)
        self._looked_ns = now_ns
        return max(0, gap_ns - self._longest_ns)
