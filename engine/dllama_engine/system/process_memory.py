"""Memory of this process and of its host, as the kernel counts it."""

from __future__ import annotations

import os
import resource
import socket
import sys
from functools import cache
from pathlib import Path

from dllama_engine.system.cgroup_memory import left_bytes

_STATUS = Path("/proc/self/status")
_ROLLUP = Path("/proc/self/smaps_rollup")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class PeakMemory:
    """Peak resident memory of one session of this process.

    The kernel's own high-water mark is reset at the start. Where that is not allowed, the peak is
    the largest of the samples. The proportional set size has no mark: it is sampled always.
    """

    def __init__(self) -> None:
        self._is_exact = False
        self._rss_bytes = 0
        self._pss_bytes: int | None = None

    def start(self) -> None:
        """Forget everything before now."""
        self._rss_bytes, self._pss_bytes = 0, None
        try:
            _CLEAR_REFS.write_text("5")
            self._is_exact = True
        except OSError:
            self._is_exact = False
        self.sample()

    def sample(self) -> None:
        """Look now; call it where much has just been allocated."""
        now_bytes = _field_bytes(_STATUS, "VmRSS") or 0
        self._rss_bytes = max(self._rss_bytes, now_bytes)
        pss_bytes = _field_bytes(_ROLLUP, "Pss")
        if pss_bytes is not None:
            self._pss_bytes = max(self._pss_bytes or 0, pss_bytes)

    @property
    def rss_bytes(self) -> int:
        """Peak resident set since `start`."""
        mark_bytes = _field_bytes(_STATUS, "VmHWM") if self._is_exact else None
        if mark_bytes is None and not self._rss_bytes:
            return _rusage_peak_bytes()
        return max(mark_bytes or 0, self._rss_bytes)

    @property
    def pss_bytes(self) -> int | None:
        """Largest proportional set seen, where the kernel tells it."""
        return self._pss_bytes


def available_bytes() -> int:
    """What can still be allocated without swapping: the host's figure, or the container's limit."""
    host_bytes = _field_bytes(Path("/proc/meminfo"), "MemAvailable")
    if host_bytes is None:
        host_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit_bytes = left_bytes()
    return host_bytes if limit_bytes is None else min(host_bytes, limit_bytes)


@cache
def boot_id() -> str:
    """The same for all processes of one running host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _field_bytes(path: Path, name: str) -> int | None:
    """`Name:   123 kB` of one of the kernel's tables."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _rusage_peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
