"""Workers of the real dllama, of which only their printed lines tell whether they are busy."""

from __future__ import annotations

import time
from weakref import WeakSet

from pytest_dllama.backends.base import WorkerNotReady
from pytest_dllama.backends.dllama.printed.lines import clean, read_line
from pytest_dllama.hosts.base import HostProcess


class PrintingWorkers:
    """Which workers serve a root, as last read."""

    def __init__(self) -> None:
        self._busy: WeakSet[HostProcess] = WeakSet()

    def await_idle(self, process: HostProcess, timeout_s: float) -> None:
        """Wait until a worker that has served a root listens again, by what it prints.

        Raises:
            WorkerNotReady: it ended, or is still busy after `timeout_s`.
        """
        end = time.monotonic() + timeout_s
        while self._reads_on(process, max(end - time.monotonic(), 0.0)):
            pass
        if process in self._busy:
            raise WorkerNotReady(
                f"{process.name} still serves an earlier root after {timeout_s:g} s"
            )

    def _reads_on(self, process: HostProcess, timeout_s: float) -> bool:
        """Read a worker's next line; waits for one only while it serves a root."""
        try:
            # What an ended process left is on its way: the end of its output tells why.
            waits = process in self._busy or process.wait(0.0) is not None
            line = process.read_line(timeout_s if waits else 0.0)
        except TimeoutError:
            return False
        if line is None:
            raise WorkerNotReady(f"{process.name} ended: {process.error_tail()}")
        found = read_line(clean(line))
        if found is not None and found.kind in ("root_connected", "n_nodes"):
            self._busy.add(process)
        elif found is not None and found.kind == "listening":
            self._busy.discard(process)
        return True
