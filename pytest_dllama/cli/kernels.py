"""`pytest-dllama kernels build`: compile the engine's kernels, for this machine or for boards."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

_BUILDER = "dllama_engine.kernels.compiler.build"
_NATIVE = "native"
TARGETS = (_NATIVE, "cortex-a53", "cortex-a72", "cortex-a76")


def add_kernels(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    kernels = commands.add_parser("kernels", help="compile the engine's kernels ahead of time")
    kinds = kernels.add_subparsers(title="commands", metavar="COMMAND", required=True)
    build = kinds.add_parser(
        "build",
        help="compile all kernels for a CPU into one file",
        description="Compile all kernels for a CPU into one file, an image of machine code that "
        "runs without a compiler. For this machine it goes into the cache, where dllama-py finds "
        "it; a board takes one with `python -m dllama_engine.tools.take_kernels < FILE`.",
        epilog="example: pytest-dllama kernels build --target cortex-a76",
    )
    build.add_argument(
        "--target",
        choices=TARGETS,
        default=_NATIVE,
        help="the CPU: of a Raspberry Pi 3 or Zero 2 W (a53), 4 (a72), 5 (a76), or this one "
        "(default: %(default)s)",
    )
    build.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="where to (default: kernels-TARGET.image, for native the user's cache)",
    )
    build.set_defaults(command=_build)


def _build(arguments: argparse.Namespace) -> int:
    """numba can compile for one CPU in a process's life: the builder is a process of its own."""
    output: Path | None = arguments.output
    if output is None and arguments.target != _NATIVE:
        output = Path(f"kernels-{arguments.target}.image")
    line = [sys.executable, "-P", "-m", _BUILDER, arguments.target]
    if output is not None:
        line += ["--output", str(output)]
    return subprocess.run(line, check=False).returncode
