"""Logging of a request's steps, deferred so that writing takes no time from the measurement.

To write a step down takes as long as some small models compute for a token. So steps are kept, and
told when the request is over, or every half a second, so that whoever reads sees signs of life.
That it has begun is told with them: who reads a line takes a core that a rank computes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from dllama_engine.errors import EngineError
from dllama_engine.generation.steps import Step

PERIOD_NS = 500_000_000


class StepLog:
    """Tells a request and its steps; what is kept is told when the `with` block ends.

    Args:
        tell: writes one step down.
        period_ns: how long a step may be kept; 0 for somebody who watches.
        begin: tells of the request, before any step.
    """

    def __init__(
        self,
        tell: Callable[[Step], None],
        period_ns: int = PERIOD_NS,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._tell, self._period_ns, self._begin = tell, period_ns, begin
        self._has_begun = False
        self._kept: list[Step] = []
        self._told_ns = time.perf_counter_ns()

    def __enter__(self) -> Self:
        if not self._period_ns:
            self._flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
        else:  # why the request ended is what matters
            with suppress(OSError, EngineError):
                self._flush()

    def add(self, step: Step) -> None:
        """One more step."""
        self._kept.append(step)
        if step.end_ns - self._told_ns >= self._period_ns:
            self._flush()

    def _flush(self) -> None:
        kept, self._kept = self._kept, []
        if not self._has_begun:
            self._has_begun = True
            self._begin()
        for step in kept:
            self._tell(step)
        self._told_ns = time.perf_counter_ns()
