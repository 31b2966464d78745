"""Which CPU this is, and which instruction set its kernels use; asks the system, no compiler."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Mapping
from functools import cache

from dllama_engine.errors import EngineError

# LLVM's names of what the system calls otherwise.
_X86_NAMES = {
    "avx512_vnni": "avx512vnni",
    "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16",
    "avx512_vbmi2": "avx512vbmi2",
    "avx_vnni": "avxvnni",
    "pni": "sse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "abm": "lzcnt",
    "pclmulqdq": "pclmul",
    "rdrand": "rdrnd",
    "lahf_lm": "sahf",
    "sha_ni": "sha",
}
_AT_HWCAP = 16
# Bits of Linux' HWCAP on AArch64 (arch/arm64/include/uapi/asm/hwcap.h).
_ARM_BITS = {
    "fp-armv8": 0, "neon": 1, "aes": 3, "sha2": 6, "crc": 7, "lse": 8, "fullfp16": 10,
    "rdm": 12, "rcpc": 15, "dotprod": 20,
}  # fmt: skip
_IDENTITY = (
    *("vendor_id", "cpu family", "model", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),
)


def machine() -> str:
    """The instruction set that is compiled for, as the system calls it: x86_64, aarch64, ...

    This machine's, unless DLLAMA_MACHINE says otherwise, as it does to a cross compiler.
    """
    return os.environ.get("DLLAMA_MACHINE") or os.uname().machine


def cpu_features() -> frozenset[str]:
    """LLVM's names of the CPU features that kernels may use, e.g. avx2, avx512vnni, dotprod.

    The host's, unless NUMBA_CPU_FEATURES says otherwise.
    """
    given = os.environ.get("NUMBA_CPU_FEATURES")
    if given is not None:
        return frozenset(name[1:] for name in given.split(",") if name.startswith("+"))
    return _host_features()


@cache
def _host_features() -> frozenset[str]:
    if not sys.platform.startswith("linux"):
        return _features_of_llvm()
    if os.uname().machine == "aarch64":
        found = _auxiliary_value(_AT_HWCAP)
        return frozenset(name for name, bit in _ARM_BITS.items() if found >> bit & 1)
    flags = [line["flags"].split() for line in _processors() if "flags" in line]
    if not flags:
        return _features_of_llvm()
    common = set(flags[0]).intersection(*flags[1:])
    return frozenset(_X86_NAMES.get(name, name) for name in common)


def _auxiliary_value(kind: int) -> int:
    read = ctypes.CDLL(None).getauxval
    read.restype, read.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(read(kind))


@cache
def _processors() -> list[dict[str, str]]:
    """What /proc/cpuinfo says about each core; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            blocks = file.read().split("\n\n")
    except OSError:
        return []
    lines = ([line.partition(":") for line in block.splitlines()] for block in blocks)
    return [{key.strip(): value.strip() for key, _, value in block} for block in lines if block]


def _features_of_llvm() -> frozenset[str]:
    from llvmlite import binding

    return frozenset(name for name, present in binding.get_host_cpu_features().items() if present)


def cpu_digest() -> str:
    """Short and different for CPUs that compiled code cannot be shared between."""
    given = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    cores = {
        tuple(core.get(key, "") for key in _IDENTITY) for core in _processors() if len(core) > 1
    }
    described = repr((machine(), given, sorted(cores), sorted(cpu_features())))
    return hashlib.sha256(described.encode()).hexdigest()[:8]


def is_amd(name: str | None = None) -> bool:
    """Whether a CPU is one of AMD's, or of Hygon's, which has its cores.

    Args:
        name: LLVM's; None: the CPU that is compiled for, which is this machine's unless
            NUMBA_CPU_NAME says otherwise, as it does to a cross compiler.
    """
    name = name or os.environ.get("NUMBA_CPU_NAME")
    if name is not None:
        return name.startswith("znver")
    makers = {core["vendor_id"] for core in _processors() if "vendor_id" in core}
    return bool(makers) and makers <= {"AuthenticAMD", "HygonGenuine"}


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


# What each variant needs of a CPU, best first; the last runs everywhere.
VARIANTS: Mapping[str, frozenset[str]] = {
    "vnni": frozenset(("avx512vnni", "avx512vl", "avx512f", "f16c")),
    "avx2": frozenset(("avx2", "f16c")),
    "dotprod": frozenset(("neon", "dotprod")),
    "neon": frozenset(("neon",)),
    "generic": frozenset(),
}


def available_variants() -> list[str]:
    """The variants that this CPU can run, best first."""
    features = cpu_features()
    return [which for which, needed in VARIANTS.items() if needed <= features]


def cpu_label() -> str:
    """What stands behind `🧠 CPU:`: the best that the CPU has, and the kernels in use.

    >>> cpu_label().split()[0] in {"avx512vnni", "avx512", "avx2", "neon", machine()}
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
    return machine()
