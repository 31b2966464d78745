"""Which instruction set the kernels are compiled for on this machine."""

from __future__ import annotations

import hashlib
import os
import platform

from llvmlite import binding

from dllama_engine.errors import EngineError


def cpu_features() -> frozenset[str]:
    """LLVM's names of the CPU features that numba compiles for, e.g. avx2, avx512vnni, dotprod.

    The host's, unless NUMBA_CPU_FEATURES says otherwise.
    """
    given = os.environ.get("NUMBA_CPU_FEATURES")
    if given is not None:
        return frozenset(name[1:] for name in given.split(",") if name.startswith("+"))
    features = binding.get_host_cpu_features()
    return frozenset(name for name, present in features.items() if present)


def cpu_digest() -> str:
    """Short and different for CPUs that compiled code cannot be shared between."""
    name = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    described = " ".join((name, *sorted(cpu_features())))
    return hashlib.sha256(described.encode()).hexdigest()[:8]


def variant() -> str:
    """Which kernels this host uses, a key of `dots.DOTS`; DLLAMA_KERNELS overrides.

    Raises:
        EngineError: DLLAMA_KERNELS names a variant that does not exist or that the CPU lacks.
    """
    possible = available_variants()
    wanted = os.environ.get("DLLAMA_KERNELS")
    if wanted and wanted not in possible:
        raise EngineError(
            f"DLLAMA_KERNELS={wanted}: this CPU can run {', '.join(possible)}; unset it to choose"
        )
    return wanted or possible[0]


def available_variants() -> list[str]:
    """The variants that this CPU can run, best first."""
    features = cpu_features()
    needs = {
        "vnni": {"avx512vnni", "avx512vl", "avx512f", "f16c"},
        "avx2": {"avx2", "f16c"},
        "dotprod": {"neon", "dotprod"},
        "neon": {"neon"},
    }
    found = [which for which, needed in needs.items() if needed <= features]
    return [*found, "generic"]


def cpu_label() -> str:
    """What stands behind `🧠 CPU:`: the best that the CPU has, and the kernels in use.

    >>> cpu_label().split()[0] in {"avx512vnni", "avx512", "avx2", "neon", platform.machine()}
    True
    """
    chosen = ", by DLLAMA_KERNELS" if os.environ.get("DLLAMA_KERNELS") else ""
    return f"{_instruction_set()} (kernels: {variant()}{chosen})"


def _instruction_set() -> str:
    features = cpu_features()
    if "avx512vnni" in features:
        return "avx512vnni"
    if "avx512bw" in features:
        return "avx512"
    if "avx2" in features:
        return "avx2"
    if "neon" in features:
        return "neon dotprod" if "dotprod" in features else "neon"
    return platform.machine()
