"""`pytest-dllama kernels build`: compile the engine's kernels, for this machine or for boards."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.hosts.packages.wheel_images import WheelError, add_images

_BUILDER = "dllama_engine.kernels.compiler.build"
_NATIVE = "native"
TARGETS = (
    _NATIVE,
    *("x86-64-v3", "x86-64-v4", "znver3", "znver4"),
    *("cortex-a53", "cortex-a72", "cortex-a76"),
)


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
        help="the CPU: of a Raspberry Pi 3 or Zero 2 W (a53), 4 (a72), 5 (a76), x86-64 with AVX2 "
        "(v3, AMD: znver3) or with AVX-512 and VNNI (v4, AMD: znver4), or this one "
        "(default: native)",
    )
    where = build.add_mutually_exclusive_group()
    where.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="where to (default: kernels-TARGET.image, for native the user's cache)",
    )
    where.add_argument(
        "--into-wheel",
        metavar="FILE.whl",
        type=Path,
        help="add it to a wheel that was built from these sources; without --target every CPU that "
        "has a name here, which `make wheel` does",
    )
    build.set_defaults(command=_build)


def _build(arguments: argparse.Namespace) -> int:
    """numba can compile for one CPU in a process's life: the builder is a process of its own."""
    if arguments.into_wheel is not None:
        return _into_wheel(arguments.into_wheel, arguments.target)
    target = arguments.target or _NATIVE
    output: Path | None = arguments.output
    if output is None and target != _NATIVE:
        output = Path(f"kernels-{target}.image")
    return _run(target, *(() if output is None else ("--output", str(output))))


def _run(target: str, *options: str) -> int:
    line = [sys.executable, "-P", "-m", _BUILDER, target, *options]
    return subprocess.run(line, check=False).returncode


def _into_wheel(wheel: Path, target: str | None) -> int:
    """Compile for the target, or for each that has a name, and add all to the wheel."""
    images = {}
    with tempfile.TemporaryDirectory(prefix="dllama-kernels-") as folder:
        for name in [target] if target else [name for name in TARGETS if name != _NATIVE]:
            output = Path(folder) / f"{name}.image"
            if code := _run(name, "--output", str(output)):
                return code
            images[name] = output.read_bytes()
    try:
        n_bytes = add_images(wheel, images)
    except (WheelError, OSError) as error:
        print(f"pytest-dllama: kernels build --into-wheel: {error}", file=sys.stderr)
        return 1
    print(f"{wheel}: {counted(len(images), 'image')}, {n_bytes >> 10} KiB more")
    return 0
