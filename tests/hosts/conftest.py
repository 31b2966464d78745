"""Hosts for tests: OpenSSH servers on loopback, one working folder and home each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_dllama.remote.inventory import Inventory, load_inventory
from tests.hosts import sshd


def skip_or_fail(reason: str | None) -> None:
    """On CI nothing of this may be skipped."""
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def pis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[sshd.Sshd]]:
    """Four servers that stay for the session."""
    skip_or_fail(sshd.missing())
    base = tmp_path_factory.mktemp("pis")
    servers = [sshd.Sshd(base / f"pi{n}", base) for n in range(1, 5)]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[[], sshd.Sshd]]:
    """A server of one's own, to be broken."""
    skip_or_fail(sshd.missing())
    servers: list[sshd.Sshd] = []

    def make() -> sshd.Sshd:
        server = sshd.Sshd(tmp_path / f"own{len(servers) + 1}", tmp_path)
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
