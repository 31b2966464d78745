"""Real OpenSSH servers of our own: keys, configuration and ports apart from the machine's."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

START_S = 120.0  # a busy machine; only a server that does not come is waited for so long
CONFIG = """
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {keys}/id.pub {folder}/home/.ssh/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
SetEnv HOME={folder}/home PIP_COMPILE=0{more}
Subsystem sftp internal-sftp
"""


def missing() -> str | None:
    """Why there can be no server here."""
    for program in ("sshd", "ssh-keygen"):
        if find(program) is None:
            return f"{program} is not installed; make test-deps installs openssh-server"
    return None


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def make_key(file: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(file)], check=True
    )


def free_port(address: str = "127.0.0.1") -> int:
    """A port that stays free: below those that Linux gives to whoever asks for any (32768)."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as sshd does
            probe.bind((address, port))
            return port


class Sshd:
    """One server; `prefix` may put it into a network namespace."""

    def __init__(
        self,
        folder: Path,
        keys: Path,
        address: str = "127.0.0.1",
        port: int = 0,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        lines: str = "",
    ) -> None:
        self.lines = lines  # more of its configuration
        self.env = env or {}
        self.folder, self.keys, self.address = folder, keys, address
        self.port = port or free_port()
        self._is_known = port != 0
        self.prefix = tuple(prefix)
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        if not (keys / "id").exists():
            make_key(keys / "id")
        make_key(folder / "host_key")
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def start(self) -> None:
        """Run it; a port that somebody took meanwhile is changed, unless it is known already."""
        while not self._listens():
            told = (self.folder / "sshd.log").read_text()
            assert "Address already in use" in told, told
            assert not self._is_known, told
            self.port = free_port()
        self._is_known = True

    def _listens(self) -> bool:
        """Start the server and wait until it says that it listens, or ends."""
        config = self.folder / "sshd_config"
        more = "".join(f" {name}={value}" for name, value in self.env.items())
        config.write_text(
            CONFIG.format(
                port=self.port,
                address=self.address,
                folder=self.folder,
                keys=self.keys,
                more=more,
            )
            + self.lines
        )
        command = [*self.prefix, str(find("sshd")), "-D", "-e", "-f", str(config)]
        with (self.folder / "sshd.log").open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, start_new_session=True)
        until_s = time.monotonic() + START_S
        while self._process.poll() is None:
            if "Server listening on" in (self.folder / "sshd.log").read_text():
                return True
            assert time.monotonic() < until_s, (self.folder / "sshd.log").read_text()
            time.sleep(0.02)
        return False

    def new_host_key(self) -> None:
        """As after an installation anew."""
        self.kill()
        for file in self.folder.glob("host_key*"):
            file.unlink()
        make_key(self.folder / "host_key")
        self.start()

    def sessions(self) -> list[psutil.Process]:
        """Its processes that serve connections."""
        assert self._process
        main = psutil.Process(self._process.pid)
        found = []
        for child in main.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a session that ends meanwhile
                if child.name() == "sshd":
                    found.append(child)
        return found

    def cut_connections(self) -> None:
        """End every connection, as a server's restart does; new ones are taken."""
        for process in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def kill(self) -> None:
        """End the server and every connection."""
        if self._process is not None and self._process.poll() is None:
            sessions = self.sessions()
            self._process.kill()
            self._process.wait()
            for process in sessions:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._await_silence()

    def _await_silence(self) -> None:
        """Until nobody takes connections: a child that is ending may still hold the port."""
        with contextlib.suppress(OSError):
            for _ in range(100):
                socket.create_connection((self.address, self.port), 0.2).close()
                time.sleep(0.05)

    def entry(self, name: str, **more: object) -> str:
        """This server as a `[[host]]` table."""
        values: dict[str, object] = {
            "name": name,
            "address": self.address,
            "port": self.port,
            "key": str(self.keys / "id"),
            "folder": str(self.folder / "work"),
        } | more
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        return "\n".join(["[[host]]", *lines, ""])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'


def leftovers(folder: Path) -> list[str]:
    """Command lines of processes that run from below a folder, servers apart."""
    found = []
    for process in psutil.process_iter(["cmdline", "name"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line and process.info["name"] != "sshd":
            found.append(line)
    return found


def left_behind(folder: Path) -> list[str]:
    """What of them still runs after a while: followers end when their connection does.

    The while is shorter than the lease that would end a process whose controller is gone.
    """
    until_s = time.monotonic() + 40.0
    while (found := leftovers(folder)) and time.monotonic() < until_s:
        time.sleep(0.1)
    return found
