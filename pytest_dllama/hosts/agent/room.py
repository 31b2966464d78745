"""Memory that a host can still give: as the kernel tells, or less where a container has limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")
_FILES = {  # version of control groups: limit, use, and page cache that can be dropped
    "": ("", "memory.max", "memory.current", "inactive_file"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
_UNLIMITED_BYTES = 1 << 60  # version 1 writes no limit as the largest number of whole pages


def room(request: dict[str, Any]) -> dict[str, Any]:
    """Bytes that can be allocated now; None where nothing is known."""
    return {"available_bytes": available_bytes()}


def available_bytes(root: Path = Path("/")) -> int | None:
    """The kernel's figure or a group's, whichever is less; `root` stands for / in tests."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    except (OSError, ValueError, IndexError):
        memory = {}
    known = [n for n in (memory.get("MemAvailable"), *_group_rooms(root)) if n is not None]
    return min(known, default=None)


def _group_rooms(root: Path) -> list[int]:
    """Room in every limited group that this process is in, up to the roots."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        kind = "memory" if "memory" in controllers.split(",") else controllers
        if kind in _FILES:
            folder, *names = _FILES[kind]
            parts = [part for part in path.split("/") if part not in ("", "..")]
            top = root / _CGROUPS.relative_to("/") / folder
            groups = [top.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
            found += [left for group in groups if (left := _left(group, *names)) is not None]
    return found


def _left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        limit_bytes = int((group / limit).read_text())  # "max" is no number
        used_bytes = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if limit_bytes >= _UNLIMITED_BYTES:
        return None
    return max(0, limit_bytes - used_bytes + int(stat.get(cache, 0)))
