"""`python -m benchmarks`: the engine beside its yardsticks, in one run, in turns."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
from datetime import date
from pathlib import Path

from benchmarks.table import Row
from dllama_engine.system.process import prepare

SHAPES = ("llama-160m", "tinyllama-1.1b", "llama-7b")
DEEP_SHAPES = SHAPES[:2]  # a prompt of 8192 tokens takes the 7B shape a quarter of an hour


def main() -> None:
    """Parse the options, measure, print."""
    options = _parser().parse_args()
    prepare()
    from benchmarks.engine.capacity import too_large
    from benchmarks.engine.dispatch import dispatch_rows
    from benchmarks.engine.packing import packing_rows
    from benchmarks.engine.real_dllama import binary_from_environment
    from benchmarks.engine.single import kernel_rows, why_not
    from benchmarks.engine.start import start_rows
    from benchmarks.table import as_text
    from dllama_engine.synthetic.model import write_synthetic

    dllama = binary_from_environment()
    notes: list[str] = []
    if not options.llama_cpp:
        notes.append("llama.cpp was not measured: llama-cpp-python is not installed.")
    rows = kernel_rows(3 * options.rounds)
    rows += start_rows(options.rounds)
    rows += packing_rows(options.threads, 3 * options.rounds)
    rows += dispatch_rows(options.models, options.threads, options.rounds)
    for shape in options.shapes:
        _write(options, rows, notes)  # shape by shape: a run that is stopped leaves what it has
        reason = too_large(shape, options.models, options.nodes, bool(options.llama_cpp))
        if reason:
            notes.append(f"{shape} was left out: {reason}")
            print(notes[-1], file=sys.stderr, flush=True)
            continue
        model, _ = write_synthetic(shape, options.models)
        if options.llama_cpp and (why := why_not(options.llama_cpp, model)):
            options.llama_cpp = None
            notes.append(f"llama.cpp was not measured: {why}.")
            print(notes[-1], file=sys.stderr, flush=True)
        rows += _shape_rows(shape, model, options, dllama)
    if not dllama:
        notes.append("The real dllama was not measured: DLLAMA_BIN is not set.")
    _write(options, rows, notes)
    print(as_text(rows))
    print(*notes, sep="\n")


def _shape_rows(
    shape: str, model: Path, options: argparse.Namespace, dllama: str | None
) -> list[Row]:
    from benchmarks.engine.contexts import context_rows
    from benchmarks.engine.nodes import node_rows
    from benchmarks.engine.real_dllama import dllama_rows
    from benchmarks.engine.single import Engine, model_rows

    engine = Engine(model, max(options.threads))
    rows = model_rows(model, engine, options.threads, options.rounds, options.llama_cpp)
    if dllama:
        rows += dllama_rows(model, engine, dllama, options.threads, options.node_rounds)
    engine.close()
    del engine
    gc.collect()  # the nodes need the memory
    if options.depths and shape in DEEP_SHAPES:
        how = max(options.threads), options.depth_rounds, options.llama_cpp
        rows += context_rows(shape, options.models, options.depths, *how)
    if options.nodes:
        rows += node_rows(model, options.nodes, options.node_rounds)
    return rows


def _write(options: argparse.Namespace, rows: list[Row], notes: list[str]) -> None:
    from benchmarks.table import as_markdown

    if options.markdown:
        listed = "".join(f"\n- {note}" for note in notes)
        options.markdown.write_text(f"{_machine(options)}\n\n{as_markdown(rows)}\n{listed}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="SHAPE")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--nodes", nargs="*", type=int, default=[2, 4, 8], metavar="N")
    parser.add_argument(
        "--depths", nargs="*", type=int, default=[2048, 8192], metavar="N",
        help="tokens of long prompts, and positions to decode behind (default: 2048 8192)",
    )  # fmt: skip
    parser.add_argument("--depth-rounds", type=int, default=2, help="of those (default: 2)")
    parser.add_argument("--rounds", type=int, default=7, help="of each pair (default: 7)")
    parser.add_argument("--node-rounds", type=int, default=3, help="of processes (default: 3)")
    parser.add_argument("--models", type=Path, default=Path("benchmarks/.models"), metavar="DIR")
    parser.add_argument(
        "--llama-cpp",
        metavar="PYTHON",
        default=sys.executable if _has_llama_cpp() else None,
        help="a Python that has llama-cpp-python (default: this one, if it has)",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    return parser


def _has_llama_cpp() -> bool:
    from importlib.util import find_spec

    return find_spec("llama_cpp") is not None


def _machine(options: argparse.Namespace) -> str:
    import numba

    from dllama_engine.kernels.cpu import variant

    return (
        f"## One run\n\n"
        f"{date.today()}, {_cpu_name()}, {os.cpu_count()} cores, kernels `{variant()}`, "
        f"Linux {platform.release()}, Python {platform.python_version()}, numba "
        f"{numba.__version__}; {options.rounds} rounds of each pair, taken in turns. "
        f"Load average at the end: {os.getloadavg()[0]:.1f} (other work on the machine, if well "
        "above the threads measured, makes every figure here smaller)."
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = [
        line.split(":")[1].strip() for line in lines if line.startswith(("model name", "Model"))
    ]
    return found[0] if found else platform.machine()


if __name__ == "__main__":
    main()
