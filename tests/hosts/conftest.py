"""Hosts for tests: OpenSSH servers on loopback, one working folder and home each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from pytest_dllama.hosts.inventory import Inventory, load_inventory
from tests.hosts import netns, ssh_world, sshd
from tests.hosts.wheels import make_wheelhouse


def skip_or_fail(reason: str | None) -> None:
    """On CI nothing of this may be skipped."""
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def network() -> Iterator[netns.Network | None]:
    """Namespaces for four boards; None where they are not allowed and the boards share loopback.

    On CI they must be there: it runs the tests as root.
    """
    reason = netns.missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            skip_or_fail(reason)
        yield None
        return
    made = netns.Network(4)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def pis(
    tmp_path_factory: pytest.TempPathFactory, network: netns.Network | None
) -> Iterator[list[sshd.Sshd]]:
    """Four boards that stay for the session, with addresses of their own where that is allowed."""
    skip_or_fail(sshd.missing())
    base = tmp_path_factory.mktemp("pis")
    servers = []
    for n in range(1, 5):
        where = (network.address(n), 22, network.prefix(n)) if network else ("127.0.0.1", 0, ())
        servers.append(sshd.Sshd(base / f"pi{n}", base, *where))
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


@dataclass(frozen=True, slots=True)
class Boards:
    """Four boards with one working folder, which the first check has provisioned."""

    file: Path
    folder: Path
    servers: list[sshd.Sshd]
    first_check: subprocess.CompletedProcess[str]
    python: ClassVar[str] = str(Path(sys.executable).resolve())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`pytest-dllama ARGUMENTS`."""
        program = [sys.executable, "-m", "pytest_dllama.cli", *arguments]
        return subprocess.run(
            program,
            capture_output=True,
            text=True,
            cwd=self.file.parent,
            env={**os.environ, "COLUMNS": "200"},
        )


@pytest.fixture(scope="session")
def boards(pis: list[sshd.Sshd], tmp_path_factory: pytest.TempPathFactory) -> Boards:
    """Provisioned once a session: it compiles every kernel."""
    base = tmp_path_factory.mktemp("boards")
    make_wheelhouse(base / "wheelhouse")
    head = 'known_hosts = "known_hosts"\nwheelhouse = "wheelhouse"\n'
    entries = [
        server.entry(
            f"pi{n}",
            role="worker" if n > 1 else "root",
            python=Boards.python,
            folder=str(base / "work"),
        )
        for n, server in enumerate(pis, start=1)
    ]
    file = base / "hosts.toml"
    file.write_text(head + "\n".join(entries))
    made = Boards(file, base / "work", pis, subprocess.CompletedProcess([], 0))
    return replace(made, first_check=made.command("hosts", "check", "--hosts-only", "pi1"))


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[..., sshd.Sshd]]:
    """A server of one's own, to be broken."""
    skip_or_fail(sshd.missing())
    servers: list[sshd.Sshd] = []

    def make(lines: str = "", **env: str) -> sshd.Sshd:
        """With these variables set for everything that it runs, and more lines of sshd_config."""
        server = sshd.Sshd(tmp_path / f"own{len(servers) + 1}", tmp_path, env=env, lines=lines)
        server.start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def inventory_of(tmp_path: Path) -> Callable[..., Inventory]:
    """An inventory of these servers, the first one the root, with this interpreter's engine."""

    def make(servers: list[sshd.Sshd], head: str = "", **more: object) -> Inventory:
        file = tmp_path / "hosts.toml"
        entries = [
            server.entry(
                f"pi{n}",
                role="worker" if n > 1 else "root",
                **{"python": sys.executable, "provision": False, **more},
            )
            for n, server in enumerate(servers, start=1)
        ]
        file.write_text("\n".join(['known_hosts = "known_hosts"', head, *entries]))
        return load_inventory(file)

    return make


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssh_world.World]:
    skip_or_fail(sshd.missing())
    yield from ssh_world.made_in(tmp_path_factory.mktemp("config"))


@pytest.fixture
def agent(world, tmp_path, monkeypatch) -> Iterator[str]:
    """An agent that holds the key with the passphrase."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not os.path.exists(path):
        assert process.poll() is None
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\necho open sesame\n")
    helper.chmod(0o755)
    asking = {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"}
    env = {**os.environ, "SSH_AUTH_SOCK": path, **asking}
    subprocess.run(["ssh-add", "-q", str(world.folder / "locked")], env=env, check=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", path)
    yield path
    process.terminate()
    process.wait()
