"""Hosts made ready, all at once: connect, look; then send the wheel, environment, kernels.

Everything lands in the host's working folder and is named after what it was made of, so that a
second time finds it there. A fault of one host does not stop the others; all are told together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet.clock import ClockOffset, clock_offset
from pytest_dllama.hosts.fleet.dllama_source import make_dllama
from pytest_dllama.hosts.packages.kernel_image import KernelImage, image_for
from pytest_dllama.hosts.packages.other_engine import OtherEngine
from pytest_dllama.hosts.packages.wheel import COMPILER, Wheel, engine_wheel, requirements
from pytest_dllama.hosts.ssh.channel import Finished
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.hosts.ssh.upload import check_room, upload_data

STEPS = ("connect", "facts", "upload", "venv", "install", "kernels")
ENVIRONMENT_BYTES = 150 << 20  # pip and numpy, unpacked
COMPILER_BYTES = 350 << 20  # numba and LLVM
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
    other: OtherEngine | None = None  # in place of the engine that is installed here
    sides: int = 1  # engines that are in memory at the same time

    @property
    def wheel(self) -> Wheel:
        """The engine's."""
        return (self.other.wheel if self.other else None) or engine_wheel()

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
    ready, faults = gather_facts(hosts, report)
    faults |= make_each(hosts, ready, wanted, report)
    if faults:
        lines = [f"{host.name}: {faults.get(host.name, 'ready')}" for host in hosts]
        raise ProvisionError("\n".join(lines))
    return ready


def gather_facts(
    hosts: Sequence[SshHost], report: Report
) -> tuple[dict[str, Ready], dict[str, HostError]]:
    """Connect, and read what the hosts are and why some cannot be reached. Changes nothing."""
    return on_each(hosts, lambda host: _Steps(host, report).gather_facts())


def make_each(
    hosts: Sequence[SshHost], seen: Mapping[str, Ready], wanted: Wanted, report: Report
) -> dict[str, HostError]:
    """Make those ready whose facts are known; tells why some cannot be."""
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
    def _reported(self) -> Iterator[None]:
        """The last step ends with the body, well or not."""
        try:
            yield
            self._begin("")
        except HostError:
            self._report(self._host.name, self._step, "failed")
            raise

    def gather_facts(self) -> Ready:
        """Connect, and read what the host is."""
        host = self._host
        with self._reported():
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
        with self._reported():
            if self._host.entry.provision:
                other = self._wanted.other
                image = image_for(ready.facts, other.environment if other else None)
                request = self._environment(ready, with_compiler=image is None)
                self._begin("kernels")
                if image is None or not self._take(image):
                    self._install(ready, request, with_compiler=True)
                    self._compile()
            if self._wanted.other and self._wanted.other.source:
                self._begin("make dllama")
                self._host.use_binary(make_dllama(self._host, self._wanted.other))
        ready.is_made = True

    def _environment(self, ready: Ready, *, with_compiler: bool) -> dict[str, Any]:
        """The engine's own environment; what to ask the agent for more of it."""
        host, agent, wheel = self._host, self._host.agent, self._wanted.wheel
        name = f"env-{wheel.digest}-py{agent.python_version.rpartition('.')[0]}"
        request: dict[str, Any] = {
            "folder": agent.folder,
            "environment": f"{agent.folder}/{name}",
            "python": host.entry.python,
        }
        host.use_environment(request["environment"])
        found = agent.ask("environment", **request)
        self._found_kernels = found["kernels"]
        if found["ready"] is None:
            self._check_machine(ready.facts, with_compiler=with_compiler)
            self._begin("upload")
            self._send(request)
            self._begin("venv")
            agent.ask("make-venv", timeout_s=INSTALL_TIMEOUT_S, **request)
            self._begin("install")
            self._install(ready, request, with_compiler=with_compiler)
        else:
            ready.versions = found["ready"]
        return request

    def _send(self, request: dict[str, Any]) -> None:
        """What pip installs from; the request is told where it lies."""
        agent, wheel = self._host.agent, self._wanted.wheel
        folder = f"{agent.folder}/wheels/{wheel.digest}"
        request["wheel"] = upload_data(agent, wheel.name, wheel.data, folder)
        request["wheelhouse"] = self._send_wheelhouse()

    def _install(self, ready: Ready, request: dict[str, Any], *, with_compiler: bool) -> None:
        """The wheel and what it needs; a compiler only where the kernels are compiled there."""
        also = [*requirements(COMPILER)] if with_compiler else []
        if ready.versions and set(also) <= {*ready.versions.get("also", ())}:
            return
        if ready.versions:  # an environment that has done without until now
            check_room(
                self._host.agent, ready.facts["disk_free_bytes"], COMPILER_BYTES, "the compiler"
            )
            self._send(request)
        ready.versions = self._host.agent.ask(
            "install", timeout_s=INSTALL_TIMEOUT_S, **request, also=also
        )

    def _check_machine(self, facts: Mapping[str, Any], *, with_compiler: bool) -> None:
        agent = self._host.agent
        size = ENVIRONMENT_BYTES + (COMPILER_BYTES if with_compiler else 0)
        check_room(agent, facts["disk_free_bytes"], size, "the engine's environment")
        if facts["bits"] != 64:
            raise HostError(
                f"{agent.connection.where}: its system has {facts['bits']} bits "
                f"({facts['machine']}), the engine needs 64; install the 64-bit Raspberry Pi OS"
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

    def _take(self, image: KernelImage) -> bool:
        """Give the host compiled kernels; False if it says that they are not for its CPU."""
        mark = f"kernels-image-{image.digest}"
        if mark in self._found_kernels:
            return True
        done = self._run_tool("take_kernels", image.data)
        if done.code == 0:
            self._mark(mark, image.target)
        return done.code == 0

    def _compile(self) -> None:
        """Compile once what the models will call, so that no measured run has to."""
        text = json.dumps(self._wanted.kernels_request())
        mark = f"kernels-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        if mark in self._found_kernels:
            return
        done = self._run_tool("compile_kernels", text.encode())
        if done.code != 0:
            words = "\n".join(done.err.strip().splitlines()[-3:])
            raise HostError(
                f"{self._host.agent.connection.where}: the kernels do not compile "
                f"(-m dllama_engine.tools.compile_kernels): {words}"
            )
        self._mark(mark, done.out.decode())

    def _run_tool(self, name: str, given: bytes) -> Finished:
        """One of the engine's tools in the host's environment, with its caches."""
        host = self._host
        command = ["env", *(f"{key}={value}" for key, value in host.environment.items())]
        command += [host.engine_python, "-P", "-m", f"dllama_engine.tools.{name}"]
        return host.agent.connection.run(command, given, KERNELS_TIMEOUT_S)

    def _mark(self, name: str, text: str) -> None:
        """So that the next run need not look."""
        host = self._host
        host.agent.ask("place", folder=host.environment_folder, write={name: text})
        self._found_kernels.append(name)
