"""Machine code for hosts: the engine's kernels, compiled here for the CPU that a host has.

A host with an image compiles nothing and needs neither numba nor LLVM.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NATIVE = "native"
_BUILDER = "dllama_engine.kernels.compiler.build"
_BUILD_TIMEOUT_S = 600.0
_CORTEX_A53 = ("0xd03", "0xd04", "0xd05")  # cores that work in order: A53, A35, A55
_building = threading.Lock()


@dataclass(frozen=True, slots=True)
class KernelImage:
    """An image of machine code in memory."""

    target: str
    data: bytes
    digest: str


def target_of(facts: Mapping[str, Any]) -> str | None:
    """Which target's image a host with these facts may run; None: it compiles for itself.

    >>> target_of({"machine": "aarch64", "cpu_features": ["asimd", "asimddp"], "cpu_part": "0xd0b"})
    'cortex-a76'
    >>> target_of({"machine": "aarch64", "cpu_features": ["asimd"], "cpu_part": "0xd03"})
    'cortex-a53'
    """
    features = facts.get("cpu_features") or ()
    if facts["machine"] == "aarch64" and "asimd" in features:
        if "asimddp" in features:
            return "cortex-a76"
        return "cortex-a53" if facts.get("cpu_part") in _CORTEX_A53 else "cortex-a72"
    # Whether it is this very CPU is the host's to say when the image comes.
    return NATIVE if facts["machine"] == platform.machine() else None


def image_for(facts: Mapping[str, Any], environment: Path | None = None) -> KernelImage | None:
    """The image for a host, built once for all hosts of its kind and kept in the user's cache.

    By the engine of an environment, if one is given. None where there is no target for it, or
    where the compiler fails here: then the host compiles.
    """
    target = target_of(facts)
    if target is None:
        return None
    with _building:  # hosts are made ready side by side
        return _built(target, environment)


@cache
def _built(target: str, environment: Path | None) -> KernelImage | None:
    own = [str(environment / "bin" / "python"), "-I"] if environment else [sys.executable, "-P"]
    command = [*own, "-m", _BUILDER, target, "--if-missing"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
        )
        data = Path(done.stdout.rpartition(": ")[0]).read_bytes() if done.returncode == 0 else b""
    except (OSError, subprocess.TimeoutExpired):
        return None
    return KernelImage(target, data, hashlib.sha256(data).hexdigest()[:12]) if data else None
