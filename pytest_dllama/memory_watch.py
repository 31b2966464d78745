"""Peak memory of an engine that does not tell its own, read from outside: this machine's /proc.

The kernel keeps each process's peak itself (VmHWM), so a look now and then misses nothing but a
last rise before the end. Processes of other machines give None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from pytest_dllama.hosts import HostProcess, LocalProcess
from pytest_dllama.traces import Trace

_SEARCHES = 50  # for a root's engine: it starts within a few looks, or never
_HELPERS = ("sh", "dash", "bash", "tail", "cat", "stdbuf")  # of process_guard
_RESET_PEAK = "5"  # proc(5), clear_refs


class MemoryWatch:
    """Peaks of a root and its workers over one request; start it before the root.

    Args:
        workers: of the request, rank 1 first.
    """

    def __init__(self, workers: Sequence[HostProcess]) -> None:
        self._workers = [_engine_pid(worker) for worker in workers]
        self._root: int | None = None
        self._root_peak: int | None = None
        self._searches_left = _SEARCHES

    def start(self) -> None:
        """Forget what the workers needed for earlier requests."""
        self._workers = [pid if pid and _reset(pid) else None for pid in self._workers]

    def look(self, root: HostProcess) -> None:
        """See what the root has needed so far; cheap enough for every line that it prints."""
        if self._root is None and self._searches_left:
            self._searches_left -= 1
            self._root = _engine_pid(root)
        if self._root is not None:
            self._root_peak = _peak_bytes(self._root) or self._root_peak

    def fill(self, trace: Trace) -> Trace:
        """The trace with the peaks that the engine itself left open."""
        peaks = [self._root_peak, *(pid and _peak_bytes(pid) for pid in self._workers)]
        ranks = tuple(
            rank.model_copy(update={"peak_rss_bytes": peaks[rank.rank]})
            if rank.peak_rss_bytes is None and rank.rank < len(peaks)
            else rank
            for rank in trace.ranks
        )
        return replace(trace, ranks=ranks)


def _engine_pid(process: HostProcess) -> int | None:
    """The engine behind the shell that guards it; None if it has not started or is elsewhere."""
    if not isinstance(process, LocalProcess) or process.pid is None:
        return None
    try:
        family = psutil.Process(process.pid)
        members = [family, *family.children(recursive=True)]
        return next((m.pid for m in members if m.name() not in _HELPERS), None)
    except psutil.Error:
        return None


def _peak_bytes(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(words[1]) * 1024 for words in found), None)


def _reset(pid: int) -> bool:
    try:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True
