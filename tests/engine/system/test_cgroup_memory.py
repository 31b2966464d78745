"""Limits of containers count in what can still be allocated, in both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from dllama_engine.system.cgroup_memory import left_bytes
from pytest_dllama.hosts.agent import room

MIB = 1 << 20
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")
NO_LIMIT_V1 = 9223372036854771712


class System:
    """A / with groups and the membership of this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mount = root / "sys/fs/cgroup"
        self.membership = root / "proc/self/cgroup"
        self.membership.parent.mkdir(parents=True)
        (root / "proc/meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 4096000 kB\n")

    def group(
        self, path: str, names: tuple[str, str, str], values: tuple[object, int, int]
    ) -> None:
        folder = self.mount / path
        folder.mkdir(parents=True, exist_ok=True)
        limit, used, cache = values
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")

    def left(self) -> int | None:
        """As the engine and the agent see it."""
        engine = left_bytes(self.mount, self.membership)
        agent = room.available_bytes(self.root)
        host = 4096000 * 1024
        assert agent == (host if engine is None else min(host, engine))
        return engine


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_no_limit_is_none(system: System) -> None:
    system.membership.write_text("0::/user.slice\n")
    system.group("user.slice", V2, ("max", MIB, 0))
    assert system.left() is None


def test_a_containers_own_root(system: System) -> None:
    system.membership.write_text("0::/\n")
    system.group("", V2, (512 * MIB, 200 * MIB, 50 * MIB))
    assert system.left() == 362 * MIB


def test_the_tightest_group_above_counts(system: System) -> None:
    """systemd's MemoryMax of a slice, and a looser one of the service in it."""
    system.membership.write_text("0::/tight.slice/loose.service\n")
    system.group("tight.slice/loose.service", V2, (900 * MIB, 100 * MIB, 0))
    system.group("tight.slice", V2, (300 * MIB, 100 * MIB, 0))
    system.group("", V2, ("max", 0, 0))
    assert system.left() == 200 * MIB


def test_version_1_beside_other_controllers(system: System) -> None:
    system.membership.write_text("9:name=systemd:/x\n4:memory:/docker/a\n1:cpu:/docker/a\n0::/\n")
    system.group("memory/docker/a", V1, (256 * MIB, 300 * MIB, 20 * MIB))
    system.group("memory", V1, (NO_LIMIT_V1, 0, 0))
    assert system.left() == 0  # above its limit: nothing is left, not less


def test_a_path_of_the_host_that_a_container_does_not_see(system: System) -> None:
    system.membership.write_text("4:cpu,memory:/docker/0123\n")
    system.group("memory", V1, (256 * MIB, 56 * MIB, 0))
    assert system.left() == 200 * MIB


def test_damaged_files_are_passed_over(system: System) -> None:
    system.membership.write_text("0::/../../etc\n")
    system.group("etc", V2, ("12x", 0, 0))
    assert system.left() is None
