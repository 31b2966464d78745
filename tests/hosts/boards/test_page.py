"""docs/raspberry-pi.md: each of its commands, in its order, against SSH servers of our own."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_dllama.hosts.inventory import load_inventory
from tests.data import ROOT
from tests.hosts import sshd

pytestmark = pytest.mark.long

PAGE = (ROOT / "docs" / "raspberry-pi.md").read_text(encoding="utf-8")
ADDRESSES = [f"192.168.0.{n}" for n in (11, 12, 13, 14)]
SHORT = "--steps 16 --repeats 1 --warmup 0 -p no:cacheprovider"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


COMMANDS = [line for block in _blocks("sh") for line in block.splitlines()]


class Laptop:
    """A home whose ssh_config leads the page's addresses to our servers."""

    def __init__(self, folder: Path, servers: list[sshd.Sshd], python: str, shared: Path) -> None:
        self.home = folder / "home"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        (self.home / "bin").mkdir()
        config = self.home / ".ssh" / "config"
        config.write_text("".join(map(_alias, ADDRESSES, servers)))
        for program in ("ssh", "ssh-copy-id"):  # OpenSSH looks for its files in the user's own home
            file = self.home / "bin" / program
            option = f"-F {config}" if program == "ssh" else ""
            file.write_text(f'#!/bin/sh\nexec {sshd.find(program)} {option} "$@"\n')
            file.chmod(0o755)
        self.work = folder / "work"
        self.work.mkdir()
        (self.work / "suites").symlink_to(ROOT / "suites")
        self.python, self.folder = python, shared

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", command.replace("pi@", f"{getpass.getuser()}@")],
            cwd=self.work,
            env={**os.environ, "HOME": str(self.home), "PATH": path, "PYTEST_ADDOPTS": SHORT},
            capture_output=True,
            text=True,
        )

    def fit_to_this_machine(self) -> None:
        """One thread a node, and this Python: its environment is there already."""
        file = self.work / "hosts.toml"
        text = file.read_text()
        assert "nthreads = 4" in text
        ours = f'nthreads = 1\npython = "{self.python}"\nfolder = "{self.folder}"\n#'
        file.write_text(text.replace("nthreads = 4", ours))


def _alias(address: str, server: sshd.Sshd) -> str:
    return (
        f"Host {address}\n  HostName {server.address}\n  Port {server.port}\n"
        f"  IdentityFile {server.keys / 'id'}\n  StrictHostKeyChecking accept-new\n"
        f"  UserKnownHostsFile {server.folder / 'known'}\n"
    )


@pytest.fixture(scope="module")
def laptop(boards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    servers = [sshd.Sshd(folder / f"pi{n}", folder) for n in range(1, 5)]
    for server in servers:
        server.start()
    yield Laptop(folder, servers, str(Path(sys.executable).resolve()), boards.folder)
    for server in servers:
        server.kill()


@dataclass(frozen=True, slots=True)
class Typed:
    """A command of the page that was typed, and the reports that lay there afterwards."""

    done: subprocess.CompletedProcess[str]
    report_bytes: dict[str, int]


@pytest.fixture(scope="module")
def typed(laptop: Laptop) -> dict[str, Typed]:
    """All commands but the last, in the page's order, up to the first that failed.

    Each stands on the ones before it; tests of them may be chosen, and come in any order.
    """
    found: dict[str, Typed] = {}
    for command in COMMANDS:
        if "--all" in command:
            continue
        done = laptop.run(command)
        reports = (laptop.work / "report").glob("report.*.md")
        found[command] = Typed(done, {file.name: file.stat().st_size for file in reports})
        if done.returncode != 0:
            break
        if "hosts init" in command:
            laptop.fit_to_this_machine()
    return found


def test_the_page_has_its_commands() -> None:
    assert len(COMMANDS) == 10
    assert [line for line in COMMANDS if line.startswith("pytest suites/")]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--all" not in c])
def test_each_command_in_the_pages_order(typed: dict[str, Typed], command: str) -> None:
    assert command in typed, f"not typed, for this one failed: {list(typed)[-1]}"
    done = typed[command].done
    assert done.returncode == 0, done.stdout + done.stderr
    if command.startswith("pytest suites/"):
        assert typed[command].report_bytes["report.en.md"] > 1000
        assert typed[command].report_bytes["report.ko.md"] > 1000


def test_nothing_runs_at_the_end(boards, typed: dict[str, Typed]) -> None:
    assert sshd.left_behind(boards.folder) == []


def test_the_hosts_file_of_the_page_loads(tmp_path) -> None:
    file = tmp_path / "hosts.toml"
    (text,) = _blocks("toml")
    file.write_text(text)
    inventory = load_inventory(file)
    assert inventory.has_root
    assert inventory.hosts[1].labels == ("rack-1",)


def test_clean_all_removes_all_that_is_ours(make_sshd, inventory_of) -> None:
    (command,) = [c for c in COMMANDS if "--all" in c]
    server = make_sshd()
    inventory = inventory_of([server])
    for name in ("agent", "models"):  # of earlier sessions
        (server.folder / "work" / name).mkdir(parents=True)
    (server.folder / "work" / "mine.txt").write_text("keep")
    words = [*command.split()[1:], "--hosts", str(inventory.file)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_dllama.cli", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (server.folder / "work").iterdir()] == ["mine.txt"]
