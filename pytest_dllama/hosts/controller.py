"""The controller's machine: what it is, and a fingerprint by which its figures are compared."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from pytest_dllama import __version__
from pytest_dllama.record.hosts import HostRecord
from pytest_dllama.record.run import Environment


def probe_environment() -> Environment:
    """Describe this machine."""
    return Environment(
        hostname=platform.node(),
        os=_os_name(),
        machine=platform.machine(),
        cpu_model=_cpu_model(),
        cpu_count=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        numpy=_version("numpy"),
        numba=_version("numba"),
        pytest_dllama=__version__,
        board=_board(),
    )


def fingerprint(
    environment: Environment,
    host_kind: str,
    hosts: Sequence[HostRecord | None] = (),
    network: str = "",
) -> str:
    """A folder name for figures that may be compared: the same machines in the same ranks.

    Host names and our own versions are no part of it: a new container of the same machine and a
    new release of the software are exactly what one wants to compare. Of hosts behind SSH the
    kernel is, for it is theirs and not what is tested; a host that is None could not be looked at.
    An emulated network is one more part of it, in its own words: nothing there is comparable.
    The controller counts where a rank runs on it: in a local run, and as the root without a host.
    """
    machines = [_key_of(host) if host else "unknown" for host in hosts]
    if not any(host and host.rank == 0 for host in hosts):  # the root runs here
        machines.insert(0, _key_here(environment))
    key = "\n".join([*machines, host_kind, *([network] if network else [])])
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    kind = f"{host_kind}-emulated" if network else host_kind
    return f"{kind}-{_shown_machines(environment, hosts)}-{digest}"


def _shown_machines(environment: Environment, hosts: Sequence[HostRecord | None]) -> str:
    """Machines as a folder's name says them: how many, their cores, and what the first one is."""
    known = [host for host in hosts if host]
    cores = sum(host.cores for host in known) or environment.cpu_count
    first = (known[0].board or known[0].cpu_model or known[0].machine) if known else None
    name = first or environment.board or environment.cpu_model
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].strip("-")
    return f"{f'{len(hosts)}h-' if hosts else ''}{cores}x-{slug or 'cpu'}"


def _key_here(environment: Environment) -> str:
    what = environment.board or environment.cpu_model
    gib = round(environment.memory_bytes / 2**30)
    return f"{what}|{environment.machine}|{environment.cpu_count}|{gib}"


def _key_of(host: HostRecord) -> str:
    what = host.board or host.cpu_model
    gib = None if host.memory_bytes is None else round(host.memory_bytes / 2**30)
    return f"{host.rank}|{what}|{host.machine}|{host.bits}|{host.cores}|{gib}|{host.kernel}"


@cache
def _os_name() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()}"


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _board() -> str | None:
    try:
        model = Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return model.strip("\0 \n") or None


@cache  # a look at every installed distribution; they do not change under a running process
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
