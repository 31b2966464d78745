"""The controller's machine: what it is, and a fingerprint by which its figures are compared."""

from __future__ import annotations

import hashlib
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from pytest_dllama import __version__
from pytest_dllama.record import Environment


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


def fingerprint(environment: Environment, host_kind: str) -> str:
    """A folder name for figures that may be compared: same kind of machine, same kind of hosts.

    Neither host name nor versions are part of it: a new container of the same machine and a new
    release of the software are exactly what one wants to compare.
    """
    gib = round(environment.memory_bytes / 2**30)
    what = environment.board or environment.cpu_model
    key = f"{what}|{environment.machine}|{environment.cpu_count}|{gib}|{host_kind}"
    slug = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")[:32].strip("-")
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{host_kind}-{environment.cpu_count}x-{slug or 'cpu'}-{digest}"


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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
