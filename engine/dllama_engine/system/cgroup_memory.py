"""What a container may still allocate: memory limits of control groups, of both versions.

A limit holds for a group and all below it, so every group from this process's own up to the root
counts. Inside a container the path that the kernel tells may be one of the host, which is not to be
found there: then the mounted root is the container's own group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MOUNT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_UNLIMITED_BYTES = 1 << 60  # version 1 writes no limit as the largest number of whole pages


def left_bytes(mount: Path = _MOUNT, membership: Path = _MEMBERSHIP) -> int | None:
    """Room below the tightest limit; None where there is no limit. Page cache counts as room."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = ["0::/", "0:memory:/"]
    found: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            names = ("memory.max", "memory.current", "inactive_file")
            found += _rooms(mount, path, *names)
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            found += _rooms(mount / "memory", path, *names)
    return min(found, default=None)


def _rooms(root: Path, path: str, limit: str, usage: str, cache: str) -> Iterator[int]:
    """Room in each group from a path up to the root."""
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for n in range(len(parts), -1, -1):
        group = root.joinpath(*parts[:n])
        try:
            limit_bytes = int((group / limit).read_text())  # "max" is no number
            if limit_bytes >= _UNLIMITED_BYTES:
                continue
            used_bytes = int((group / usage).read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        yield max(0, limit_bytes - used_bytes + int(stat.get(cache, 0)))
