"""A small team of threads that share out the rows of one kernel call; sleeping, never spinning."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Kernel = Callable[..., None]


class ThreadTeam:
    """Runs a nogil kernel over [0, total) in one contiguous part per thread.

    The calling thread does the first part itself. Helpers sleep on a lock between calls, so that
    nodes or threads that outnumber the cores do not take time from each other.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._helpers = [_Helper() for _ in range(n_threads - 1)]

    def run(self, kernel: Kernel, args: tuple[Any, ...], total: int, grain: int = 1) -> None:
        """Call `kernel(*args, first, last)` over parts of whole grains; returns when all are done.

        Raises whatever a part raised.
        """
        n_grains = -(-total // grain)
        n_parts = min(self.n_threads, n_grains)
        if n_parts <= 1:
            if total:
                kernel(*args, 0, total)
            return
        bounds = [min(n_grains * i // n_parts * grain, total) for i in range(n_parts + 1)]
        busy = self._helpers[: n_parts - 1]
        for helper, first, last in zip(busy, bounds[1:-1], bounds[2:], strict=True):
            helper.start(kernel, (*args, first, last))
        try:
            kernel(*args, bounds[0], bounds[1])
        finally:
            errors = [helper.wait() for helper in busy]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        """Let the helpers end."""
        for helper in self._helpers:
            helper.stop()


class _Helper:
    """One sleeping thread; `start` hands it a call, `wait` waits for its end."""

    def __init__(self) -> None:
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._call: tuple[Kernel, tuple[Any, ...]] | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._loop, name="dllama-kernel", daemon=True).start()

    def start(self, kernel: Kernel, args: tuple[Any, ...]) -> None:
        self._call = (kernel, args)
        self._go.release()

    def wait(self) -> BaseException | None:
        self._done.acquire()
        error, self._error = self._error, None
        return error

    def stop(self) -> None:
        self._call = None
        self._go.release()

    def _loop(self) -> None:
        while True:
            self._go.acquire()
            if self._call is None:
                return
            kernel, args = self._call
            self._call = None
            try:
                kernel(*args)
            except BaseException as error:  # handed to the caller of run()
                self._error = error
            del kernel, args  # the arrays must not outlive the call
            self._done.release()
