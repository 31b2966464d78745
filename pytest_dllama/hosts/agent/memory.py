"""Peak memory of an engine that does not tell its own, read from outside: /proc of its process.

The kernel keeps a process's peak resident set itself (VmHWM), so a look now and then misses nothing
but a last rise before the end. The proportional set (PSS) has no such mark: the largest one seen
counts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

HELPERS = ("sh", "dash", "bash", "tail", "cat", "stdbuf", "env")  # around a guarded engine
_SEARCHES = 50  # it starts within a few looks, or never
_PSS_EVERY_S = 1.0  # reading it walks through the process's page tables
_RESET_PEAK = "5"  # proc(5), clear_refs


class FamilyMemory:
    """The engine among a started process and its children.

    Args:
        leader: the process that was started, in a session of its own.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._engine: int | None = None
        self._searches_left = _SEARCHES
        self._rss_bytes: int | None = None
        self._pss_bytes: int | None = None
        self._pss_read_s = -_PSS_EVERY_S
        self._is_known = True

    def restart(self) -> None:
        """Forget every earlier peak; where the kernel does not allow that, none is known."""
        self._searches_left = max(self._searches_left, 1)
        self._find()
        self._rss_bytes = self._pss_bytes = None
        self._pss_read_s = -_PSS_EVERY_S
        self._is_known = self._engine is None or _reset(self._engine)

    def sample(self) -> None:
        """Read the peaks so far; cheap enough for several times a second."""
        self._find()
        if self._engine is None:
            return
        self._rss_bytes = _field_bytes(self._engine, "status", "VmHWM") or self._rss_bytes
        if time.monotonic() - self._pss_read_s >= _PSS_EVERY_S:
            self._pss_read_s = time.monotonic()
            seen = _field_bytes(self._engine, "smaps_rollup", "Pss")
            self._pss_bytes = max((n for n in (seen, self._pss_bytes) if n), default=None)

    def peaks(self) -> dict[str, int | None]:
        """The peaks so far, in bytes; None for what is not known."""
        known = self._is_known
        return {
            "rss_bytes": self._rss_bytes if known else None,
            "pss_bytes": self._pss_bytes if known else None,
        }

    @property
    def has_seen(self) -> bool:
        """Whether the engine was ever found."""
        return self._engine is not None

    def _find(self) -> None:
        if self._engine is None and self._searches_left > 0:
            self._searches_left -= 1
            self._engine = _engine_of(self._leader)


def _engine_of(leader: int) -> int | None:
    """The first process of the leader's session that is no helper."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return next((pid for pid in pids if pid >= leader and _belongs(pid, leader)), None) or next(
        (pid for pid in pids if pid < leader and _belongs(pid, leader)), None
    )


def _belongs(pid: int, leader: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    head, _, rest = stat.rpartition(")")
    fields = rest.split()  # state, parent, group, session, ...
    is_engine = head.partition("(")[2] not in HELPERS and fields[0] != "Z"
    return is_engine and int(fields[3]) == leader


def _field_bytes(pid: int, table: str, name: str) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/{table}").read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith(f"{name}:"))
    return next((int(words[1]) * 1024 for words in found), None)


def _reset(pid: int) -> bool:
    try:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True
