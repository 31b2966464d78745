"""Hosts made ready, all at once: connect, look; then send the wheel, environment, kernels.

Everything lands in the host's working folder and is named after what it was made of, so that a
second time finds it there. A fault of one host does not stop the others; all are told together.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet.clock import ClockOffset, clock_offset
from pytest_dllama.hosts.packages.wheel import engine_wheel
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.hosts.ssh.upload import check_room, upload_data

STEPS = ("connect", "facts", "upload", "venv", "install", "kernels")
ENVIRONMENT_BYTES = 500 << 20  # numpy, numba and LLVM, unpacked
INSTALL_TIMEOUT_S = 1800.0
KERNELS_TIMEOUT_S = 1800.0

Report = Callable[[str, str, str], None]  # host, step, state
T = TypeVar("T")


class ProvisionError(HostError):
    """Hosts that could not be made ready; one line a host, the good ones too."""


@dataclass(slots=True)
class Wanted:
    """What the hosts shall be ready for."""

    configs: Sequence[Mapping[str, Any]] = ()  # of the models; empty: the shipped one
    buffer_float_type: str = "q80"
    sync_mode: str = "reduce"
    wheelhouse: Path | None = None

    def kernels_request(self) -> dict[str, Any]:
        """What `dllama_engine.tools.compile_kernels` reads."""
        return {
            "configs": list(self.configs),
            "buffer_float_type": self.buffer_float_type,
            "sync_mode": self.sync_mode,
        }


@dataclass(slots=True)
class Ready:
    """A host that was looked at: its facts, and once made ready its environment's versions."""

    facts: dict[str, Any]
    clock: ClockOffset
    leftovers: tuple[str, ...] = ()  # processes of earlier sessions that still run
    is_made: bool = False
    versions: dict[str, Any] = field(default_factory=dict)


def provision(hosts: Sequence[SshHost], wanted: Wanted, report: Report) -> dict[str, Ready]:
    """Make all hosts ready side by side.

    Raises:
        ProvisionError: with every host's result.
    """
    ready, faults = look_at_each(hosts, report)
    faults |= make_each(hosts, ready, wanted, report)
    if faults:
        lines = [f"{host.name}: {faults.get(host.name, 'ready')}" for host in hosts]
        raise ProvisionError("\n".join(lines))
    return ready


def look_at_each(
    hosts: Sequence[SshHost], report: Report
) -> tuple[dict[str, Ready], dict[str, HostError]]:
    """Connect and look: what the hosts are, and why some cannot be reached. Changes nothing."""
    return on_each(hosts, lambda host: _Steps(host, report).look())


def make_each(
    hosts: Sequence[SshHost], seen: Mapping[str, Ready], wanted: Wanted, report: Report
) -> dict[str, HostError]:
    """Make those ready that were looked at; tells why some cannot be."""
    present = [host for host in hosts if host.name in seen and not seen[host.name].is_made]
    _, faults = on_each(present, lambda host: _Making(host, wanted, report).make(seen[host.name]))
    return faults


def on_each(
    hosts: Sequence[SshHost], work: Callable[[SshHost], T]
) -> tuple[dict[str, T], dict[str, HostError]]:
    """The same work on all hosts at once: results and faults, by the hosts' names."""
    results: dict[str, T] = {}
    faults: dict[str, HostError] = {}
    pool = ThreadPoolExecutor(max(len(hosts), 1))
    futures = {host.name: pool.submit(work, host) for host in hosts}
    try:
        for name, future in futures.items():
            try:
                results[name] = future.result()
            except HostError as error:
                faults[name] = error
    except BaseException:  # Ctrl-C: nobody waits for an installation to end
        for host in hosts:
            host.agent.connection.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return results, faults


class _Steps:
    """One host's way through the steps that it was given."""

    def __init__(self, host: SshHost, report: Report) -> None:
        self._host, self._report = host, report
        self._step = ""

    def _begin(self, step: str) -> None:
        if self._step:
            self._report(self._host.name, self._step, "ok")
        self._step = step
        if step:
            self._report(self._host.name, step, "...")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The last step ends with the body, well or not."""
        try:
            yield
            self._begin("")
        except HostError:
            self._report(self._host.name, self._step, "failed")
            raise

    def look(self) -> Ready:
        """Connect, and read what the host is."""
        host = self._host
        with self._told():
            self._begin("connect")
            host.agent.ensure_open()
            self._begin("facts")
            facts = host.agent.ask("facts", folder=host.agent.folder)
            return Ready(facts, clock_offset(host.agent), tuple(host.earlier_sessions()))


class _Making(_Steps):
    """The steps that put something on a host."""

    def __init__(self, host: SshHost, wanted: Wanted, report: Report) -> None:
        super().__init__(host, report)
        self._wanted = wanted
        self._found_kernels: list[str] = []

    def make(self, ready: Ready) -> None:
        """Wheel, environment and kernels, as far as they are not there."""
        with self._told():
            if self._host.entry.provision:
                self._environment(ready)
                self._kernels()
        ready.is_made = True

    def _environment(self, ready: Ready) -> None:
        host, agent, wheel = self._host, self._host.agent, engine_wheel()
        name = f"env-{wheel.digest}-py{agent.python_version.rpartition('.')[0]}"
        request: dict[str, Any] = {
            "folder": agent.folder,
            "environment": f"{agent.folder}/{name}",
            "python": host.entry.python,
            "wheelhouse": None,
        }
        host.use_environment(request["environment"])
        found = agent.ask("environment", **request)
        self._found_kernels = found["kernels"]
        if found["ready"] is None:
            self._check_machine(ready.facts)
            self._begin("upload")
            wheel_folder = f"{agent.folder}/wheels/{wheel.digest}"
            request["wheel"] = upload_data(agent, wheel.name, wheel.data, wheel_folder)
            request["wheelhouse"] = self._send_wheelhouse()
            self._begin("venv")
            agent.ask("make-venv", timeout_s=INSTALL_TIMEOUT_S, **request)
            self._begin("install")
            found["ready"] = agent.ask("install", timeout_s=INSTALL_TIMEOUT_S, **request)
        ready.versions = found["ready"]

    def _check_machine(self, facts: Mapping[str, Any]) -> None:
        agent = self._host.agent
        check_room(agent, facts["disk_free_bytes"], ENVIRONMENT_BYTES, "the engine's environment")
        if facts["bits"] != 64:
            raise HostError(
                f"{agent.connection.where}: its system has {facts['bits']} bits "
                f"({facts['machine']}), numba needs 64; install the 64-bit Raspberry Pi OS"
            )

    def _send_wheelhouse(self) -> str | None:
        source = self._wanted.wheelhouse
        if source is None:
            return None
        wheels = sorted(source.glob("*.whl"))
        if not wheels:
            raise HostError(
                f"the wheelhouse {source} holds no wheel; fill it: pytest-dllama wheelhouse --help"
            )
        folder = f"{self._host.agent.folder}/wheelhouse"
        for wheel in wheels:
            upload_data(self._host.agent, wheel.name, wheel.read_bytes(), folder)
        return folder

    def _kernels(self) -> None:
        """Compile once what the models will call, so that no measured run has to."""
        self._begin("kernels")
        host, text = self._host, json.dumps(self._wanted.kernels_request())
        mark = f"kernels-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        if mark in self._found_kernels:
            return
        command = ["env", *(f"{key}={value}" for key, value in host.environment.items())]
        command += [host.engine_python, "-P", "-m", "dllama_engine.tools.compile_kernels"]
        done = host.agent.connection.run(command, text.encode(), KERNELS_TIMEOUT_S)
        if done.code != 0:
            words = "\n".join(done.err.strip().splitlines()[-3:])
            raise HostError(
                f"{host.agent.connection.where}: the kernels do not compile "
                f"({shlex.join(command[-3:])}): {words}"
            )
        host.agent.ask("place", folder=host.environment_folder, write={mark: done.out.decode()})
