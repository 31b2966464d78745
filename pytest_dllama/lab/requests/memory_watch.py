"""Peak memory of an engine that does not tell its own, over one request, on whichever host it runs.

How it is read is the host's concern (`hosts/agent/memory.py`, on this machine too).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.hosts.base import HostProcess


class MemoryWatch:
    """Peaks of a root and its workers over one request; start it before the root.

    Args:
        workers: of the request, rank 1 first.
    """

    def __init__(self, workers: Sequence[HostProcess]) -> None:
        self._workers = tuple(workers)
        self._root: HostProcess | None = None

    def start(self) -> None:
        """Forget what the workers needed for earlier requests."""
        for worker in self._workers:
            worker.watch_memory(forget=True)

    def sample(self, root: HostProcess) -> None:
        """Read the root's peaks so far; cheap enough for every line that it prints."""
        if self._root is None:
            self._root = root
            root.watch_memory(forget=False)
        root.sample_memory()

    def fill(self, trace: RequestTrace) -> RequestTrace:
        """The trace with the peaks that the engine itself left open."""
        peaks = [process.memory_peaks() if process else {} for process in self._processes()]
        ranks = tuple(
            rank.model_copy(
                update={
                    "peak_rss_bytes": peaks[rank.rank].get("rss_bytes"),
                    "peak_pss_bytes": peaks[rank.rank].get("pss_bytes"),
                }
            )
            if rank.peak_rss_bytes is None and rank.rank < len(peaks)
            else rank
            for rank in trace.ranks
        )
        return replace(trace, ranks=ranks)

    def _processes(self) -> list[HostProcess | None]:
        return [self._root, *self._workers]
