"""Time in which this process itself was suspended: stopped, or its machine asleep.

A deadline counts a peer's silence. Whoever was suspended cannot say that its peers were silent, so
that time is taken off: it shows as a gap between two checks that is longer than any check takes.
"""

from __future__ import annotations

import time

_now_ns = time.perf_counter_ns


class SuspensionDetector:
    """Notices it, if asked again and again.

    Args:
        longest_ns: how long it may be from one check to the next while this process runs.
        checked_ns: the first check, of `time.perf_counter_ns`; 0: there was none yet.
    """

    def __init__(self, longest_ns: int, checked_ns: int = 0) -> None:
        self._longest_ns = longest_ns
        self._checked_ns = checked_ns

    def since_check_ns(self, moved_ns: int = 0) -> int:
        """How long this process was suspended since the last call; 0 if it was not.

        Args:
            moved_ns: when a peer was last heard of; what lies before does not count.
        """
        now_ns = _now_ns()
        gap_ns = now_ns - max(self._checked_ns, moved_ns)
        self._checked_ns = now_ns
        return max(0, gap_ns - self._longest_ns)
