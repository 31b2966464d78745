"""Which instruction set the kernels are compiled for on this machine."""

from __future__ import annotations

import hashlib
import os
import platform

from llvmlite import binding


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


def cpu_label() -> str:
    """What stands behind `🧠 CPU:`, the features that matter to the kernels.

    >>> cpu_label().split()[0] in {"avx512vnni", "avx512", "avx2", "neon", platform.machine()}
    True
    """
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
