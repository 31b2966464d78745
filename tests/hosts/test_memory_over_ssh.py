"""Peak memory of a program on a host: of one request, over lost connections, to its end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_dllama.backends.process_guard import guarded
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.hosts.ssh.process import SshProcess
from tests.hosts import sshd
from tests.plugin.lab.requests.memory_taker import MIB, PROGRAM, take

GROWS_AND_ENDS = """
import sys, time
block = bytearray(b"x") * (200 * 2**20)
print("has it", flush=True)
while not sys.stdin.buffer.read(1):
    pass
"""


@pytest.fixture
def host(pis, inventory_of):
    inventory = inventory_of(pis[:1])
    host = SshHost(inventory.hosts[0], inventory)
    yield host
    assert host.close() is None
    assert sshd.left_behind(pis[0].folder) == []


def _program(host: SshHost, tmp_path: Path) -> tuple[SshProcess, Path]:
    orders = tmp_path / "orders"
    orders.touch()
    command = guarded([sys.executable, "-c", PROGRAM, str(orders)], host.parent)
    return host.start(command, "program", tmp_path / "logs", {}), orders


def _rss_mib(process: SshProcess) -> float:
    found = process.memory_peaks()["rss_bytes"]
    assert found
    return found / MIB


def test_each_request_has_its_own_peak(host: SshHost, tmp_path: Path) -> None:
    process, orders = _program(host, tmp_path)
    take(process, orders, 300)
    process.watch_memory(forget=True)
    assert _rss_mib(process) < 60
    take(process, orders, 150)
    assert 150 < _rss_mib(process) < 210
    process.watch_memory(forget=True)
    assert _rss_mib(process) < 60


def test_a_lost_connection_forgets_no_peak(host: SshHost, pis, tmp_path: Path) -> None:
    process, orders = _program(host, tmp_path)
    process.watch_memory(forget=True)
    take(process, orders, 150)
    pis[0].cut_connections()
    take(process, orders, 10)
    assert 150 < _rss_mib(process) < 210


def test_the_peak_of_a_process_that_has_ended(host: SshHost, tmp_path: Path) -> None:
    command = [sys.executable, "-c", GROWS_AND_ENDS]
    process = host.start(command, "grows", tmp_path / "logs", {})
    process.watch_memory(forget=True)
    assert process.read_line(180) == "has it\n"
    process.memory_peaks()
    process.stop()
    assert process.wait(0) == -15
    assert 200 < _rss_mib(process) < 260
    pss = process.memory_peaks()["pss_bytes"]
    assert pss
    assert pss <= 260 * MIB
