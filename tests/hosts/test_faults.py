"""What can go wrong between two machines, for real: each fault names the host and the remedy."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_dllama.backends.base import WorkerNotReady
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet.provision import ProvisionError, Wanted, provision
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.ssh import process as ssh_process
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.hosts.ssh.process import SshProcess
from pytest_dllama.hosts.ssh.upload import upload_file
from pytest_dllama.lab.requests.cluster import Cluster, ClusterError
from tests.engine.processes import GENEROUS_S
from tests.hosts import netns, sshd
from tests.hosts.conftest import skip_or_fail

pytestmark = pytest.mark.long

LEASE_S = 6.0  # a heartbeat a second; a busy machine may be late with some
TICKING = "import time\nwhile True: print('tick', flush=True); time.sleep(0.1)"


def _host(inventory: Inventory) -> SshHost:
    return SshHost(inventory.hosts[0], inventory)


def _fault(inventory: Inventory) -> str:
    host = _host(inventory)
    with pytest.raises(HostError) as caught:
        host.agent.open()
    host.close()
    return str(caught.value)


def _read_all(process: SshProcess) -> None:
    while process.read_line(GENEROUS_S):
        pass


def _program(file: Path, script: str) -> Path:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_nobody_answers(make_sshd, inventory_of) -> None:
    server = make_sshd()
    inventory = inventory_of([server])
    server.kill()
    message = _fault(inventory)
    assert f"@127.0.0.1:{server.port})" in message
    assert "nobody answers there" in message
    assert "systemctl enable --now ssh" in message


def test_wrong_key(make_sshd, inventory_of, tmp_path) -> None:
    sshd.make_key(tmp_path / "other")
    message = _fault(inventory_of([make_sshd()], key=str(tmp_path / "other")))
    assert "does not let us in" in message
    assert "ssh-copy-id -p" in message


def test_no_such_key(make_sshd, inventory_of, tmp_path) -> None:
    message = _fault(inventory_of([make_sshd()], key=str(tmp_path / "nowhere")))
    assert "nowhere" in message


def test_changed_host_key(make_sshd, inventory_of) -> None:
    server = make_sshd()
    inventory = inventory_of([server])
    host = _host(inventory)
    host.agent.open()
    host.close()
    server.new_host_key()
    message = _fault(inventory)
    assert "its host key is not the one in" in message
    assert "ssh-keygen -f" in message


def test_unknown_host_key_is_refused_on_request(make_sshd, inventory_of) -> None:
    message = _fault(inventory_of([make_sshd()], head='new_host_keys = "refuse"'))
    assert "its host key is unknown and new_host_keys = 'refuse'" in message


def test_no_python(make_sshd, inventory_of) -> None:
    message = _fault(inventory_of([make_sshd()], python="/opt/no/python3"))
    assert "/opt/no/python3 is not there; install it (sudo apt install python3" in message


def test_old_python(make_sshd, inventory_of, tmp_path) -> None:
    old = _program(tmp_path / "old-python", "echo 3.9.2")
    message = _fault(inventory_of([make_sshd()], python=str(old)))
    assert "is Python 3.9.2, at least 3.11 is needed" in message


def test_read_only_folder(make_sshd, inventory_of) -> None:
    message = _fault(inventory_of([make_sshd()], folder="/proc/dllama"))
    assert "the working folder /proc/dllama cannot be written" in message


def test_full_disk(make_sshd, inventory_of, tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        skip_or_fail("a small tmpfs cannot be mounted here (needs root)")
    try:
        inventory = inventory_of([make_sshd()], folder=str(disk / "work"), provision=True)
        host = _host(inventory)
        with pytest.raises(ProvisionError, match=r"environment needs 157 MB .* has \d MB free"):
            provision([host], Wanted(), lambda *step: None)
        model = tmp_path / "model.m"
        model.write_bytes(os.urandom(2 << 20))
        with pytest.raises(HostError, match=r"model\.m needs 2 MB .* MB free"):
            upload_file(host.agent, model)
        with model.open("rb") as source, pytest.raises(HostError, match="No space left"):
            host.agent.connection.upload(source, str(disk / "work" / "model.m"))
        assert not list(disk.glob("work/model.m*"))
        host.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_several_faults_are_told_together(make_sshd, inventory_of) -> None:
    servers = [make_sshd(), make_sshd(), make_sshd()]
    inventory = inventory_of(servers)
    servers[1].kill()
    hosts = [SshHost(entry, inventory) for entry in inventory.hosts]
    with pytest.raises(ProvisionError) as caught:
        provision(hosts, Wanted(), lambda *step: None)
    lines = str(caught.value).splitlines()
    assert lines[0] == "pi1: ready"
    assert "nobody answers" in lines[1]
    assert lines[2] == "pi3: ready"
    for host in hosts:
        host.close()


def test_a_model_is_sent_once_and_again_when_it_changes(make_sshd, inventory_of, tmp_path) -> None:
    host = _host(inventory_of([make_sshd()]))
    model = tmp_path / "model.m"
    model.write_bytes(b"one" * 1000)
    sent: list[int] = []

    def send() -> Path:
        sent.clear()
        return Path(upload_file(host.agent, model, lambda done, total: sent.append(done)))

    assert send().read_bytes() == model.read_bytes()
    assert sent == [3000]
    assert send().exists()
    assert sent == []
    os.utime(model)  # a new date alone sends nothing
    send()
    assert sent == []
    model.write_bytes(b"two" * 1000)
    assert send().read_bytes() == b"two" * 1000
    assert sent == [3000]
    host.close()


def test_port_taken(make_sshd, inventory_of, tmp_path) -> None:
    server = make_sshd()
    host = _host(inventory_of([server], listen_port=server.port))
    host.agent.open()
    cluster = Cluster([host, host], EmbeddedBackend(), tmp_path / "logs", 1)
    with pytest.raises(ClusterError, match=rf"worker 1 on pi1: .*{server.port}.*in use"):
        cluster.ensure(2)
    cluster.stop()
    assert host.close() is None


def test_a_killed_worker_is_started_again(make_sshd, inventory_of, tmp_path) -> None:
    host = _host(inventory_of([make_sshd()]))
    host.agent.open()
    cluster = Cluster([host, host], EmbeddedBackend(), tmp_path / "logs", 1)
    cluster.ensure(2)
    (worker,) = cluster.workers(2)
    os.kill(worker.process.pid or 0, 9)
    assert worker.process.wait(GENEROUS_S) == -9
    cluster.ensure(2)
    assert cluster.workers(2)[0].process.pid != worker.process.pid
    cluster.stop()
    assert host.close() is None


def test_the_roots_host_is_asked_where_we_cannot_reach_a_worker(
    make_sshd, inventory_of, tmp_path
) -> None:
    host = _host(inventory_of([make_sshd()]))
    host.agent.open()

    class Behind(EmbeddedBackend):
        """Workers behind a router: this machine has no way to them."""

        def probe(self, host: str, port: int, token: str, timeout_s: float) -> None:
            raise WorkerNotReady(f"{host}:{port} is behind a router")

    cluster = Cluster([host, host], Behind(), tmp_path / "logs", 1)
    cluster.ensure(2)
    worker = cluster.workers(2)[0]
    assert not host.reaches(worker.host, worker.port, "another-token", 5)
    cluster.stop()
    host.close()


def test_a_server_that_dies_fails_the_reader_and_the_lease_ends_the_process(
    make_sshd, inventory_of, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(ssh_process, "RECONNECT_S", 1.0)
    server = make_sshd()
    host = _host(inventory_of([server], head=f"lease_s = {LEASE_S}"))
    process = host.start([sys.executable, "-c", TICKING], "p", tmp_path / "logs", {})
    assert process.read_line(GENEROUS_S) == "tick\n"
    server.kill()
    with pytest.raises(HostError, match=rf"p is out of reach: pi1 .*within {LEASE_S:g} s"):
        _read_all(process)
    process.stop()
    assert "nobody answers" in str(host.close())
    until_s = time.monotonic() + GENEROUS_S
    while sshd.leftovers(server.folder):
        assert time.monotonic() < until_s, sshd.leftovers(server.folder)
        time.sleep(0.2)


def test_a_cut_cable_fails_the_reader(pis, network, inventory_of, tmp_path, monkeypatch) -> None:
    if network is None:
        skip_or_fail(netns.missing())
    monkeypatch.setattr(ssh_process, "RECONNECT_S", 1.0)
    monkeypatch.setattr("pytest_dllama.hosts.ssh.connection.DEAD_AFTER_S", 1.0)
    inventory = inventory_of(pis[3:4], head=f"lease_s = {LEASE_S}", folder=str(tmp_path / "cut"))
    host = _host(inventory)
    process = host.start([sys.executable, "-c", TICKING], "p", tmp_path / "logs", {})
    assert process.read_line(GENEROUS_S) == "tick\n"
    monkeypatch.setattr("pytest_dllama.hosts.ssh.connection.CONNECT_TIMEOUT_S", 2.0)
    network.cut(4)
    try:
        with pytest.raises(HostError, match="p is out of reach"):
            _read_all(process)
        process.stop()
        assert "ends by itself" in str(host.close())
        until_s = time.monotonic() + GENEROUS_S
        while sshd.leftovers(tmp_path / "cut"):
            assert time.monotonic() < until_s
            time.sleep(0.2)
    finally:
        network.mend(4)


def test_a_mended_cable_goes_on(pis, network, inventory_of, tmp_path) -> None:
    if network is None:
        skip_or_fail(netns.missing())
    host = _host(inventory_of(pis[3:4], folder=str(tmp_path / "mended")))
    code = "import time\nfor n in range(40): print(n, flush=True); time.sleep(0.05)"
    process = host.start([sys.executable, "-c", code], "p", tmp_path / "logs", {})
    assert process.read_line(GENEROUS_S) == "0\n"
    network.cut(4)
    time.sleep(1)
    network.mend(4)
    lines = ["0\n"]
    while line := process.read_line(GENEROUS_S):
        lines.append(line)
    assert lines == [f"{n}\n" for n in range(40)]
    assert process.wait(GENEROUS_S) == 0
    host.close()


def test_the_working_folder_is_for_its_owner(make_sshd, inventory_of) -> None:
    server = make_sshd()
    host = _host(inventory_of([server]))
    host.agent.open()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (server.folder / "work").rglob("*")]
    assert modes
    assert all(mode & 0o077 == 0 for mode in modes)
    host.close()
