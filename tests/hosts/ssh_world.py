"""A board, two jump hosts and keys for whoever compares us with `ssh`."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.ssh.connection import SshConnection
from tests.hosts import sshd

BASE = """
Host board j1 j2
  HostName 127.0.0.1
Host board
  Port {board}
Host j1
  Port {j1}
Host j2
  Port {j2}
Host *
  BatchMode yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
"""
KEY = "\nHost *\n  IdentityFile {key}\n"
BOARD = "[127.0.0.1]:{board}"


@dataclass(frozen=True, slots=True)
class World:
    """A board, two jump hosts, and keys: `id` is let in, `locked` too, `other` is not."""

    folder: Path
    servers: dict[str, sshd.Sshd]

    def fill(self, text: str, known: Path) -> str:
        ports = {name: server.port for name, server in self.servers.items()}
        keys = {f"{name}_key": " ".join(self.public(name).split()[:2]) for name in self.servers}
        for name in ("other", "ca", "nobodys_ca"):
            public = (self.folder / f"{name}.pub").read_text()
            keys[f"{name}_key"] = " ".join(public.split()[:2])
        names = ("id", "locked", "other", "signed", "elsewhere.pub", "revoked", "open")
        paths = {name.partition(".")[0]: self.folder / name for name in names}
        words = {"key": paths["id"], **paths, "missing": self.folder / "missing", "known": known}
        return text.format(
            **ports,
            **keys,
            **words,
            folder=known.parent,
            public_only=self.folder / "public_only",
        )

    def public(self, name: str) -> str:
        return (self.servers[name].folder / "host_key.pub").read_text()


def made_in(folder: Path) -> Iterator[World]:
    """The servers run until it is left."""
    servers = {name: sshd.Sshd(folder / name, folder) for name in ("board", "j1", "j2")}
    sshd.make_key(folder / "other")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(folder / "locked")],
        check=True,
    )
    shutil.copy(folder / "locked.pub", folder / "public_only.pub")
    _certify(folder, servers["board"])
    for server in servers.values():
        allowed = server.home / ".ssh" / "authorized_keys"
        allowed.parent.mkdir(exist_ok=True)
        shutil.copy(folder / "locked.pub", allowed)
        server.start()
    yield World(folder, servers)
    for server in servers.values():
        server.kill()


def _certify(folder: Path, board: sshd.Sshd) -> None:
    """An authority that signed the board's key and `signed`; `id` has a certificate of no use."""
    for name in ("ca", "nobodys_ca", "signed"):
        sshd.make_key(folder / name)
    sign = ["ssh-keygen", "-q", "-I", "test", "-s"]
    for command in (
        [*sign, folder / "ca", "-h", "-n", "127.0.0.1", board.folder / "host_key.pub"],
        [*sign, folder / "ca", "-n", getpass.getuser(), folder / "signed.pub"],
        [*sign, folder / "nobodys_ca", "-n", getpass.getuser(), folder / "id.pub"],
        ["ssh-keygen", "-q", "-k", "-f", folder / "revoked", board.folder / "host_key.pub"],
    ):
        subprocess.run(command, check=True)
    (folder / "signed-cert.pub").rename(folder / "elsewhere.pub")
    shutil.copy(folder / "id", folder / "open")
    (folder / "open").chmod(0o644)
    board.lines = (
        f"HostCertificate {board.folder}/host_key-cert.pub\nTrustedUserCAKeys {folder}/ca.pub\n"
    )


def ssh_lets_in(config: Path) -> bool:
    done = subprocess.run(
        ["ssh", "-F", str(config), "board", "true"], capture_output=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode in (0, 255), done.stderr
    return done.returncode == 0


def connection_of(config: Path, **more: object) -> SshConnection:
    entry = HostEntry(name="board")
    return SshConnection(
        entry, Inventory(file=Path("hosts.toml"), hosts=(entry,), ssh_config=config, **more)
    )


def why_we_do_not(config: Path) -> str:
    """Empty if we are let in, else why not."""
    connection = connection_of(config)
    try:
        assert connection.run(["echo", "in"]).out == b"in\n"
    except HostError as error:
        return str(error)
    finally:
        connection.close()
    return ""


def both(world: World, folder: Path, text: str, known: str) -> tuple[bool, str]:
    """What ssh does and what we do, each with files of its own."""
    configs = []
    for who in ("ssh", "we"):
        (folder / who).mkdir()
        file = folder / who / "known"
        if known:
            file.write_text(world.fill(known, file))
        config = folder / who / "config"
        (folder / who / "more").write_text(world.fill(KEY, file))
        config.write_text(world.fill(text + BASE, file))
        configs.append(config)
    return ssh_lets_in(configs[0]), why_we_do_not(configs[1])
