"""A connection that talks to the agent of its host: opened once, asked often.

Knows what a host must have before anything can be asked of it, a python and a working folder, and
sends the agent there. What the agent is asked for is the concern of others.
"""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.packages.agent_archive import agent_archive
from pytest_dllama.hosts.ssh.channel import Finished
from pytest_dllama.hosts.ssh.connection import SshConnection

MIN_PYTHON = (3, 11)
# One line: csh knows no newline in quotes.
_HELLO = (
    'echo "home=$HOME"; echo "ssh=$SSH_CONNECTION"; '
    'command -v "$1" >/dev/null 2>&1 && echo "python=$("$1" -c "$2" 2>&1 | tail -n 1)"; exit 0'
)
_VERSION = 'import sys; print("%d.%d.%d" % sys.version_info[:3])'
# A folder with things that are not ours is left alone: `hosts clean` would remove its models.
_SEND = (
    'umask 077; [ -s "$2" ] && exit 0; if [ ! -d "$1" ]; then '
    'others=$(ls -A "$3" 2>/dev/null | grep -vx lost+found | head -n 4); '
    '[ -z "$others" ] || { echo $others >&2; exit 73; }; fi; '
    'mkdir -p "$1" && cat > "$2.$$" && mv "$2.$$" "$2"'
)
_IS_ANOTHERS = 73


class AgentClient:
    """The agent of one host of an inventory.

    Args:
        entry: the host, as the inventory has it.
        inventory: the rest of the file.
    """

    def __init__(self, entry: HostEntry, inventory: Inventory) -> None:
        self._entry = entry
        self.connection = SshConnection(entry, inventory)
        self.lease_s = inventory.lease_s
        self.folder = entry.folder  # absolute once opened
        self.address = entry.listen  # where workers there listen
        self.python_version = ""
        self._has_agent = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Connect, look for python, send the agent.

        Raises:
            HostError: what is missing, and what to do about it.
        """
        hello = self._hello()
        home = hello.get("home", "")
        folder = self._entry.folder
        self.folder = home + folder[1:] if folder == "~" or folder.startswith("~/") else folder
        if not PurePosixPath(self.folder).is_absolute():
            self.folder = f"{home}/{self.folder}"
        ssh_addresses = hello.get("ssh", "").split()
        self.address = self._entry.listen or (ssh_addresses[2] if len(ssh_addresses) > 2 else "")
        self._check_python(hello.get("python"))
        self._send_agent()

    def _hello(self) -> dict[str, str]:
        done = self.connection.run(["sh", "-c", _HELLO, "hello", self._entry.python, _VERSION])
        lines = done.out.decode("utf-8", "replace").splitlines()
        pairs = (line.partition("=") for line in lines)
        return {key: value for key, _, value in pairs}

    def _check_python(self, version: str | None) -> None:
        wanted = ".".join(map(str, MIN_PYTHON))
        if version is None:
            raise HostError(
                f"{self.connection.where}: {self._entry.python} is not there; install it (sudo apt "
                "install python3 python3-venv) or name another with `python`"
            )
        parts = version.split(".")
        if not all(part.isdecimal() for part in parts) or len(parts) != 3:
            raise HostError(
                f"{self.connection.where}: {self._entry.python} does not run: {version}"
            )
        if tuple(map(int, parts)) < MIN_PYTHON:
            raise HostError(
                f"{self.connection.where}: {self._entry.python} is Python {version}, at least "
                f"{wanted} is needed; install a newer system (Raspberry Pi OS 12 or later) or name "
                "another interpreter with `python`"
            )
        self.python_version = version

    def _send_agent(self) -> None:
        name, data = agent_archive()
        folder = f"{self.folder}/agent"
        command = ["sh", "-c", _SEND, "agent", folder, f"{folder}/{name}", self.folder]
        done = self.connection.run(command, data)
        if done.code == _IS_ANOTHERS:
            raise HostError(
                f"{self.connection.where}: the working folder {self.folder} holds other things "
                f"({done.err.strip()}), and `hosts clean` empties it; name one of its own with "
                f"`folder`, as in {self.folder.rstrip('/')}/pytest-dllama"
            )
        if done.code != 0:
            raise HostError(
                f"{self.connection.where}: the working folder {self.folder} cannot be written: "
                f"{done.err.strip()}; name another with `folder`, or make room"
            )
        self._has_agent = True

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs the agent."""
        return [self._entry.python, "-I", f"{self.folder}/agent/{agent_archive()[0]}", *arguments]

    def ask(self, what: str, /, *, timeout_s: float = 60.0, **request: Any) -> dict[str, Any]:
        """Have the agent do something; opens the host first if need be.

        Raises:
            HostError: the agent's reason, or the connection's.
        """
        self.ensure_open()
        text = json.dumps(request).encode()
        done = self.connection.run(self.command(what), text, timeout_s)
        return self._answer(done, what)

    def _answer(self, done: Finished, what: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(done.out)
        except ValueError:
            last_words = done.err.strip().splitlines()[-1:] or [f"exit code {done.code}"]
            raise HostError(f"{self.connection.where}: {what} failed: {last_words[0]}") from None
        if "error" in answer:
            raise HostError(f"{self.connection.where}: {what}: {answer['error']}")
        return answer

    def ensure_open(self) -> None:
        """Open the host, once."""
        with self._lock:
            if not self._has_agent:
                self.open()

    def follow_command(self, folder: str, offsets: Sequence[int]) -> str:
        """The command whose output is a process's lines from these offsets on."""
        return shlex.join(self.command("follow", folder, *map(str, offsets)))

    def forget(self) -> None:
        """The working folder was removed, the agent with it."""
        self._has_agent = False
