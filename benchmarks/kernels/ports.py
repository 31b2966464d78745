"""`python -m benchmarks.kernels.ports`: what bounds one thread's Q40 x Q80 product on a CPU.

The loop of a decoded token is compiled for each named CPU, in a process of its own; what it holds
is counted, and `llvm-mca` simulates it with all data in the first-level cache. What memory delivers
is below all of these figures, or it is the loop that bounds. Times nothing: any machine will do.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dllama_engine.tables.blocks import BLOCK, LANES

_DOTS_A_STREAM = 8  # of a block of 32 columns and 8 rows
_V3 = "sse3,ssse3,sse4.1,sse4.2,popcnt,cx16,avx,avx2,f16c,fma,bmi2,lzcnt,movbe"
_V4 = f"{_V3},avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni"
_DOTS = {"vnni": "vpdpbusd", "avx2": "vpmaddubsw"}


@dataclass(frozen=True, slots=True)
class Core:
    """What a CPU's kernels may use, and what its maker says of it.

    Attributes:
        variant: the kernels that it would use.
        features: LLVM's names of those that they may use.
        width: instructions that are dispatched a cycle.
        loads: of vectors that begin a cycle.
        dots: byte dot products of 32 bytes that begin a cycle.
    """

    variant: str
    features: str
    width: int
    loads: int
    dots: int


# Sources: AMD's Software Optimization Guides for families 17h, 19h and 1Ah, Intel's Optimization
# Reference Manual. LLVM's model of Zen 4 lets a pipe begin no other dot product for four cycles,
# which is its latency: so that pipe is what `llvm-mca` finds bound.
CORES = {
    "znver3": Core("avx2", _V3, 6, 2, 2),
    "znver4": Core("vnni", _V4, 6, 2, 2),
    "znver4:avx2": Core("avx2", _V3, 6, 2, 2),
    "znver5": Core("vnni", _V4, 8, 4, 2),
    "icelake-server": Core("vnni", _V4, 5, 2, 2),
    "sapphirerapids": Core("vnni", _V4, 6, 2, 2),
}


def _cpu(name: str) -> str:
    return name.partition(":")[0]  # what follows is a choice of kernels


@dataclass(frozen=True, slots=True)
class Loop:
    """One turn of a loop, counted."""

    lines: tuple[str, ...]
    dots: int
    loads: int  # of vectors, broadcasts among them; prefetches are not
    prefetches: int

    @property
    def nbytes(self) -> int:
        """What a turn takes from memory: weights and deltas."""
        return self.dots // _DOTS_A_STREAM * LANES * (BLOCK // 2 + 2)

    def cycles(self, core: Core) -> dict[str, float]:
        """At least so many a turn, by what would bound."""
        return {
            "dispatch": len(self.lines) / core.width,
            "loads": (self.loads + self.prefetches) / (core.loads + 1),
            "vector loads": self.loads / core.loads,
            "dot products": self.dots / core.dots,
        }


def decode_loop(assembly: str, variant: str, streams: int) -> Loop:
    """The loop of one token's product, found by its dot products: eight for each place it reads.

    Raises:
        ValueError: there is none, or more than one.
    """
    wanted = streams * _DOTS_A_STREAM
    found = [body for body in _loops(assembly) if _count(body, _DOTS[variant]) == wanted]
    narrow = [body for body in found if not _count(body, "zmm")]
    innermost = [body for body in narrow if not any(set(other) < set(body) for other in narrow)]
    if len(innermost) != 1:
        raise ValueError(f"{len(innermost)} loops have {wanted} {_DOTS[variant]} of 32 bytes")
    (body,) = innermost
    prefetches = _count(body, "prefetch")
    # AT&T order: what is read stands first, what is written last.
    reads = sum(bool(re.match(r"v\S+\s+(\$\S+, )?[-\d]*\(", line)) for line in body)
    return Loop(body, wanted, reads, prefetches)


def _count(lines: Sequence[str], word: str) -> int:
    return sum(word in line for line in lines)


def _loops(assembly: str) -> Iterator[tuple[str, ...]]:
    """Instructions from a label to a jump back to it, without other labels."""
    lines = [line.split("#")[0].strip() for line in assembly.splitlines()]
    labels: dict[str, int] = {}
    for number, line in enumerate(lines):
        if label := re.fullmatch(r"(\.LBB\w+):", line):
            labels[label[1]] = number
        jump = re.match(r"j\w+\s+(\.LBB\w+)", line)
        if jump and jump[1] in labels:
            body = lines[labels[jump[1]] + 1 : number + 1]
            yield tuple(line for line in body if line and not line.startswith("."))


def loop_for(name: str) -> Loop:
    """The loop of one token's product as LLVM writes it for that CPU."""
    core = CORES[name]
    features = ",".join(f"+{feature}" for feature in core.features.split(","))
    environment = os.environ | {
        "NUMBA_CPU_NAME": _cpu(name),
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_DISABLE_JIT": "0",
    }
    command = sys.executable, "-m", "benchmarks.kernels.ports", "--assembly", core.variant
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    streams, _, assembly = done.stdout.partition("\n")
    return decode_loop(assembly, core.variant, int(streams))


def _print_assembly(variant: str) -> None:
    from numba import njit, types

    from dllama_engine.kernels.matmul.q40 import sum_groups
    from dllama_engine.kernels.reading import of_one_token

    streams = of_one_token(variant).streams

    @njit(nogil=True)
    def kernel(inputs: Any, result: Any, group: int, distance: int) -> None:
        sum_groups(variant, streams, 1, 1, inputs, result, group, 0, distance)

    def array(kind: types.Type, n: int) -> types.Type:
        return types.Array(kind, n, "C")

    inputs = types.Tuple((  # type: ignore[no-untyped-call]
        array(types.uint8, 4), array(types.uint16, 3), array(types.int8, 2),
        array(types.float32, 2), array(types.int32, 2),
    ))  # fmt: skip
    kernel.compile((inputs, array(types.float32, 1), types.int64, types.int64))
    print(streams)
    print(kernel.inspect_asm(kernel.signatures[0]))


def simulator() -> str | None:
    """The newest `llvm-mca` there is; None if there is none."""
    names = (*(f"llvm-mca-{version}" for version in range(30, 15, -1)), "llvm-mca")
    return next((path for name in names if (path := shutil.which(name))), None)


def simulated_cycles(program: str, name: str, loop: Loop, turns: int = 300) -> float:
    """Cycles a turn, all data in the first-level cache."""
    text = "\n".join(line for line in loop.lines if not line.startswith("j")) + "\n"
    command = program, f"-mcpu={_cpu(name)}", f"-iterations={turns}", "-"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    assert found is not None, done.stdout
    return int(found[1]) / turns


def row(name: str, loop: Loop, simulated: float | None) -> str:
    """A line of the table: what it holds, and the bytes a cycle that it can take from memory."""
    bounds: Mapping[str, float] = loop.cycles(CORES[name])
    what, cycles = max(bounds.items(), key=lambda item: item[1])
    model = "" if simulated is None else f"{simulated:.1f} ({loop.nbytes / simulated:.0f})"
    return (
        f"| {name} | {loop.nbytes} | {len(loop.lines)} | {loop.loads} + {loop.prefetches} "
        f"| {loop.dots} | {cycles:.1f}: {what} ({loop.nbytes / cycles:.0f}) | {model} |"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line a CPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels.ports", description=__doc__)
    parser.add_argument("cpus", nargs="*", default=list(CORES), metavar="CPU", help="LLVM's name")
    parser.add_argument("--assembly", choices=tuple(_DOTS), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.assembly:
        _print_assembly(options.assembly)
        return 0
    if unknown := set(options.cpus) - set(CORES):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(CORES)}")
    program = simulator()
    if program is None:
        print("llvm-mca is not here (Debian: llvm-19): only what can be counted", file=sys.stderr)
    print("In brackets: bytes of weights and deltas a cycle.\n")
    print(
        "| CPU | bytes | instructions | loads + prefetches | dot products | at least | llvm-mca |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in options.cpus:
        loop = loop_for(name)
        cycles = simulated_cycles(program, name, loop) if program else None
        print(row(name, loop, cycles), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
