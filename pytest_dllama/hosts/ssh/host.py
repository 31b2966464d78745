"""A machine behind SSH as a host: the same commands in, the same lines out as on this machine.

Every process is started by the agent of the host, detached, so that neither a lost connection nor
the end of this program decides over its life: its lease does. A follower brings its lines back;
when the connection drops, another one goes on where it ended.
"""

from __future__ import annotations

import hashlib
import json
import secrets as random
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_dllama.hosts.base import HostError, MemoryRates, PowerFeed
from pytest_dllama.hosts.command import PROGRAM
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.memory_probe import memory_probe, probed
from pytest_dllama.hosts.packages.wheel import engine_wheel
from pytest_dllama.hosts.ssh.agent_client import AgentClient
from pytest_dllama.hosts.ssh.channel import ConnectionLost
from pytest_dllama.hosts.ssh.kept_token import KEPT_SESSION
from pytest_dllama.hosts.ssh.process import SshProcess
from pytest_dllama.hosts.ssh.upload import upload_file

CACHE_VARIABLE = "DLLAMA_PY_WEIGHT_CACHE"  # the engine's: what its workers keep of their weights

_IS_PROGRAM = (  # `command -v` takes folders too
    'case "$1" in */*) test -f "$1" && test -x "$1";; *) command -v "$1" >/dev/null;; esac'
)


class SshHost:
    """One host of an inventory.

    Args:
        entry: the host, as the inventory has it.
        inventory: the rest of the file.
        dllama_bin: a program that commands name, in place of which the entry's `binary` runs.
        keeps: whether this session takes and leaves workers.
    """

    parent = "stdin"

    def __init__(
        self, entry: HostEntry, inventory: Inventory, dllama_bin: str = "", *, keeps: bool = False
    ) -> None:
        self.keeps = keeps
        self.entry = entry
        self.name = entry.name
        self.port = entry.listen_port
        self.nthreads = entry.nthreads
        self.agent = AgentClient(entry, inventory)
        self.report_upload: Callable[[int, int], None] = lambda done, total: None
        self.processes: list[SshProcess] = []
        self._placed: dict[Path, Path] = {}
        self._keep_s = inventory.keep_s
        self._dllama_bin = dllama_bin
        self._binary = entry.binary
        self.session = f"{random.token_hex(4)}-{entry.name}"  # homes may be shared
        self.engine_python = entry.python  # provisioning puts the one of its environment here
        self.environment: dict[str, str] = {}
        # By the environment: an older engine, the baseline of a pair, does not know the option.
        self._cache = {CACHE_VARIABLE: entry.weight_cache} if entry.weight_cache else {}
        self.environment_folder = ""
        self._has_started = False

    @property
    def address(self) -> str:
        """Where its workers listen."""
        return self.agent.address

    def use_environment(self, folder: str) -> None:
        """Run the engine from an environment of the working folder, its caches there too."""
        self.environment_folder = folder
        self.engine_python = f"{folder}/bin/python"
        cache = f"{self.agent.folder}/cache"
        self.environment = {"NUMBA_CACHE_DIR": f"{cache}/kernels", "XDG_CACHE_HOME": cache}

    def use_binary(self, program: str) -> None:
        """Run this in place of the program that commands name."""
        self._binary = program

    def missing_program(self) -> str | None:
        """The program that runs in place of the one that commands name, if it is not there.

        Raises:
            HostError: it cannot be asked.
        """
        program = self._binary or self._dllama_bin
        self.agent.ensure_open()
        done = self.agent.connection.run(["sh", "-c", _IS_PROGRAM, "sh", program])
        return program if done.code != 0 else None

    def start(
        self,
        command: Sequence[str],
        name: str,
        logs: Path,
        secrets: Mapping[str, str],
        *,
        keep: bool = False,
    ) -> SshProcess:
        """Start a command, detached; secrets travel by standard input and never stand in a list.

        One that is kept has a folder of its own, the same in every session: if it runs there, made
        of the same command, secrets and engine, it is taken; anything else there is ended first.

        Raises:
            HostError: it cannot be started.
        """
        self.agent.ensure_open()
        logs.mkdir(parents=True, exist_ok=True)
        place = f"{KEPT_SESSION}-{self.name}/worker" if keep else f"{self.session}/{name}"
        folder = f"{self.run_folder}/{place}"
        self._has_started = True
        spec: dict[str, Any] = {
            "command": self._resolve(command),
            "env": {**self.environment, **self._cache, **secrets, "PYTHONUNBUFFERED": "1"},
            "lease_s": self._keep_s if keep else self.agent.lease_s,
        }
        key = _key_of(spec) if keep else None
        try:
            answer = self.agent.ask("start", folder=folder, key=key, **spec)
        except ConnectionLost:
            raise
        except HostError as error:
            raise HostError(f"{command[0]} cannot be started: {error}") from error
        process = SshProcess(self.agent, name, folder, int(answer["pid"]), logs)
        process.launcher = str(answer["launcher"])
        if keep:
            process.keep(self._keep_s, taken=answer["taken"], samples_bytes=answer["samples_bytes"])
        process.attach()
        self.processes.append(process)
        return process

    def _resolve(self, command: Sequence[str]) -> list[str]:
        """Our own engine runs in the environment that was made for it."""
        if command[0] == PROGRAM:
            return [self.engine_python, "-P", "-m", "dllama_engine.cli", *command[1:]]
        own = self._binary
        return [own if own and word == self._dllama_bin else word for word in command]

    def place(self, file: Path) -> Path:
        """A file of the controller on this host; looked at once a session."""
        if file not in self._placed:
            self._placed[file] = Path(upload_file(self.agent, file, self.report_upload))
        return self._placed[file]

    def available_bytes(self) -> int | None:
        """Memory that the host can give now; None where it cannot be asked."""
        try:
            found = self.agent.ask("room").get("available_bytes")
        except HostError:
            return None
        return found if isinstance(found, int) else None

    def reaches(self, address: str, port: int, token: str, timeout_s: float) -> bool:
        """Whether a worker answers the handshake when asked from this host."""
        self.agent.ensure_open()
        command = ["env", *(f"{key}={value}" for key, value in self.environment.items())]
        command += [
            self.engine_python,
            "-P",
            "-m",
            "dllama_engine.tools.probe_worker",
            address,
            str(port),
        ]
        try:
            done = self.agent.connection.run([*command, f"{timeout_s:g}"], token.encode(), 30.0)
        except HostError:
            return False
        return done.code == 0

    def measure_memory(self, thread_counts: Sequence[int]) -> MemoryRates:
        """Bytes a second that so many threads can read, by the engine there.

        Raises:
            HostError: there is no engine, or it fails.
        """
        cache_bytes = self.agent.ask("facts", folder=self.agent.folder)["cache_bytes"]
        command = ["env", *(f"{key}={value}" for key, value in self.environment.items())]
        command += [self.engine_python, "-P", "-m", *memory_probe(cache_bytes, thread_counts)]
        done = self.agent.connection.run(command)
        return probed(done.code, done.out.decode("utf-8", "replace"), done.err)

    def read_power(self) -> PowerFeed:
        """Lines of the agent that reads the meter there, until they are closed.

        Raises:
            HostError: it cannot be asked.
        """
        self.agent.ensure_open()
        channel = self.agent.connection.channel(shlex.join(self.agent.command("power")))
        return PowerFeed(channel.lines(), channel.close)

    def leftovers(self) -> list[dict[str, Any]]:
        """Processes of ours that are still there, of whichever session."""
        found: list[dict[str, Any]] = self.agent.ask("leftovers", run_folder=self.run_folder)[
            "processes"
        ]
        return found

    def earlier_sessions(self) -> list[str]:
        """What runs there of sessions before this one; workers that this one may take apart."""
        taken = f"{KEPT_SESSION}-{self.name}" if self.keeps else None
        return [
            f"{item['session']}/{item['name']}"
            for item in self.leftovers()
            if item["alive"]
            and item["session"].endswith(f"-{self.name}")  # homes may be shared
            and item["session"] not in (self.session, taken)
        ]

    def clear(self, session: str | None = None) -> list[str]:
        """Stop the processes of one session, or of all, and remove their folders."""
        removed: list[str] = self.agent.ask("clear", run_folder=self.run_folder, session=session)[
            "removed"
        ]
        return removed

    def remove_folder(self) -> None:
        """Remove what we made in the working folder, and the folder if nothing else is in it.

        Raises:
            HostError: something could not be removed.
        """
        ours = "agent run env-* wheels wheelhouse models cache tmp dllama environment.lock"
        script = (
            f'cd "$1" 2>/dev/null || exit 0; rm -rf {ours}; cd / && rmdir "$1" 2>/dev/null || :'
        )
        done = self.agent.connection.run(["sh", "-c", script, "clean", self.agent.folder])
        if done.code != 0 or done.err:
            raise HostError(
                f"{self.agent.connection.where}: {self.agent.folder}: {done.err.strip()}"
            )
        self.agent.forget()

    @property
    def run_folder(self) -> str:
        """Where the processes have their folders."""
        return f"{self.agent.folder}/run"

    def close(self) -> str | None:
        """Remove what this session left on the host; tells why that could not be."""
        has_started, self._has_started = self._has_started, False
        try:
            if has_started:
                self.clear(self.session)
        except HostError as error:
            return f"{error}; what runs there ends by itself within {self.agent.lease_s:g} s"
        finally:
            for process in self.processes:
                process.abandon()
            self.agent.connection.close()
        return None


def _key_of(spec: Mapping[str, Any]) -> str:
    """What a kept process was made of; the token in it cannot be found out from its digest."""
    parts = [engine_wheel().digest, spec]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
