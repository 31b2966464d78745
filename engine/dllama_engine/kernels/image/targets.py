"""CPUs that images are built for, by name."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dllama_engine.errors import EngineError
from dllama_engine.kernels.cpu import is_amd, machine

NATIVE = "native"


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU for the compiler, as LLVM calls it.

    Attributes:
        name: for people and file names.
        machine: its instruction set, as `kernels.cpu.machine`.
        triple: LLVM's name of machine and system.
        cpu: whose timings the compiler assumes.
        features: those that it may use, each with a plus, by commas.
    """

    name: str
    machine: str
    triple: str
    cpu: str
    features: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the features that it may use."""
        words = self.features.split(",")
        return tuple(sorted(word[1:] for word in words if word.startswith("+")))


def _arm(cpu: str, *features: str) -> Target:
    words = ",".join(f"+{name}" for name in ("neon", "fp-armv8", *features))
    return Target(cpu, "aarch64", "aarch64-unknown-linux-gnu", cpu, words)


def _x86(cpu: str, *features: str) -> Target:
    words = ",".join(f"+{name}" for name in (*_X86_V3, *features))
    return Target(cpu, "x86_64", "x86_64-unknown-linux-gnu", cpu, words)


_X86_V3 = (
    *("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16", "avx", "avx2", "f16c", "fma"),
    *("bmi2", "lzcnt", "movbe"),
)
_X86_V4 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

# The best that fits comes first, of those for the same maker's CPUs.
NAMED = {
    target.name: target
    for target in (
        # With VNNI, for which there are kernels; without it those of v3 are as good.
        _x86("x86-64-v4", *_X86_V4, "avx512vnni"),
        _x86("x86-64-v3"),
        _x86("znver4", *_X86_V4, "avx512vnni"),  # AMD's read memory in another way
        _x86("znver3"),
        _arm("cortex-a76", "dotprod"),  # Raspberry Pi 5
        _arm("cortex-a72"),  # Raspberry Pi 4
        _arm("cortex-a53"),  # Raspberry Pi 3 and Zero 2 W
    )
}


def fitting() -> list[str]:
    """Names of those for this machine, in the order in which to look for them."""
    here = [name for name, target in NAMED.items() if target.machine == machine()]
    return sorted(here, key=lambda name: is_amd(NAMED[name].cpu) != is_amd())


def environment(name: str) -> dict[str, str]:
    """What the compiler's process needs to be told, beside its command line.

    Raises:
        EngineError: there is no such target.
    """
    if name == NATIVE:
        return {}
    if name not in NAMED:
        raise EngineError(f"target {name} is unknown; there are {NATIVE}, {', '.join(NAMED)}")
    target = NAMED[name]
    return {
        "NUMBA_CPU_NAME": target.cpu,
        "NUMBA_CPU_FEATURES": target.features,
        "DLLAMA_MACHINE": target.machine,
    }


def native() -> Target:
    """This machine's CPU, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say; asks LLVM."""
    from llvmlite import binding

    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = binding.get_host_cpu_features().flatten()
    cpu = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    return Target(NATIVE, machine(), binding.get_process_triple(), cpu, features)
