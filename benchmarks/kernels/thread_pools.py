"""`python -m benchmarks.kernels.thread_pools`: own threads against numba's `prange`, in turns.

A pass is the products of one decoded token, without what stands between them: the same table of
operations and the same chunks, run by `dllama_engine.program.threads` or by a parallel loop for
each operation, in a process of its own. With several processes each has its share of every matrix,
and all run at once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.table import Row, as_text

SHAPES = ("llama-160m", "tinyllama-1.1b")
OWN, LAYERS = "own threads", ("omp", "workqueue")
CASES = ((1, 2), (4, 1), (4, 2))  # processes, threads of each
REPOSITORY = Path(__file__).parents[2]


class Contenders:
    """Some processes of one kind, which run passes when told."""

    def __init__(self, kind: str, shape: str, n_processes: int, n_threads: int) -> None:
        environment = {
            **os.environ,
            "NUMBA_NUM_THREADS": str(n_threads),
            "PYTHONPATH": str(REPOSITORY),
        }
        if kind != OWN:
            environment["NUMBA_THREADING_LAYER"] = kind
        command = [sys.executable, "-m", "benchmarks.kernels.thread_pools", "--contender", kind]
        command += ["--shapes", shape, "--share", str(n_processes), "--threads", str(n_threads)]
        self._processes = [
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(n_processes)
        ]
        self._answers()

    def _answers(self) -> list[str]:
        lines = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"a contender ended with code {process.wait()}")
            lines.append(line)
        return lines

    def passes_a_second(self, seconds: float) -> float:
        """The mean of the processes, all running at once for so long."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        rates = [float(line) for line in self._answers()]
        return sum(rates) / len(rates)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.communicate()


def main() -> None:
    """Parse the options, measure, print."""
    options = _parser().parse_args()
    if options.contender:
        _contend(options)
        return
    rows: list[Row] = []
    for kind in (OWN, *LAYERS):  # compiled by one process, not by four at once
        Contenders(kind, options.shapes[0], 1, 2).close()
    for shape in options.shapes:
        for n_processes, n_threads in CASES:
            rows += _case(shape, n_processes, n_threads, options)
            print(as_text(rows[-len(LAYERS) :]), flush=True)
    print(f"\n{as_text(rows)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels.thread_pools", description=__doc__
    )
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="SHAPE")
    parser.add_argument("--rounds", type=int, default=7, help="of each case (default: 7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round (default: 0.5)")
    for hidden in ("--contender", "--share", "--threads"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser


def _case(shape: str, n_processes: int, n_threads: int, options: argparse.Namespace) -> list[Row]:
    """Own threads against each threading layer of numba."""
    contenders = {kind: Contenders(kind, shape, n_processes, n_threads) for kind in (OWN, *LAYERS)}
    where = f"{shape}, {n_processes} x {n_threads} threads"
    rows = {layer: Row(f"{where}: own", "passes/s", f"prange, {layer}") for layer in LAYERS}
    for _ in range(options.rounds):
        own = contenders[OWN].passes_a_second(options.seconds)
        for layer, row in rows.items():
            row.samples.append(own)
            row.yard_samples.append(contenders[layer].passes_a_second(options.seconds))
    for contender in contenders.values():
        contender.close()
    return list(rows.values())


# -- one contender -------------------------------------------------------------------------------


def _contend(options: argparse.Namespace) -> None:
    """Run passes for as many seconds as each line of the standard input says."""
    from dllama_engine.system.process import prepare

    prepare()
    n_threads = int(options.threads)
    model = _Products(options.shapes[0], int(options.share), n_threads)
    one_pass = _own(model, n_threads) if options.contender == OWN else _parallel(model)
    one_pass()
    print("ready", flush=True)
    for line in sys.stdin:
        count, start_s = 0, time.perf_counter()
        stop_s = start_s + float(line)
        while time.perf_counter() < stop_s:
            one_pass()
            count += 1
        print(count / (time.perf_counter() - start_s), flush=True)


class _Products:
    """The products of a decoded token as a table of operations, int64 (operations, WIDTH)."""

    def __init__(self, shape: str, share: int, n_threads: int) -> None:
        import numpy as np

        from dllama_engine.formats.quants import FloatType
        from dllama_engine.program.linear import Activations, Linear, packed_bytes
        from dllama_engine.program.program import Program
        from dllama_engine.synthetic.shapes import parse_shape
        from dllama_engine.system.arena import Arena

        config = parse_shape(shape)
        sizes = _sizes(config, share)
        arena = Arena(sum(packed_bytes(*size, FloatType.Q40) for size in sizes))
        self._kept: list[Any] = [arena]
        inputs: dict[int, Activations] = {}
        program = Program(config.norm_epsilon, 1, n_threads)
        for rows, cols in sizes:
            linear = Linear(rows, cols, FloatType.Q40, arena)
            for array in linear.packed:
                array.fill(1)  # memory of its own; zeros would all be one page
            if cols not in inputs:
                inputs[cols] = Activations.zeros(1, cols, FloatType.Q80, FloatType.Q40)
                inputs[cols].values.fill(1)
            out = np.zeros((1, rows), np.float32)
            program.matmul(linear, inputs[cols], out)
            self._kept += [linear, out]
        self._kept.append(inputs)
        self.table = program.table()


def _sizes(config: Any, share: int) -> list[tuple[int, int]]:
    """Rows and columns of each product; a share is cut by rows, or by columns where sums are."""
    qkv = config.q_dim + 2 * config.kv_dim
    layer = [
        (qkv // share, config.dim),
        (config.dim, config.q_dim // share),
        (2 * config.hidden_dim // share, config.dim),
        (config.dim, config.hidden_dim // share),
    ]
    return [*layer * config.n_layers, (config.vocab_size // share, config.dim)]


def _own(model: _Products, n_threads: int) -> Any:
    from dllama_engine.program.threads import ThreadTeam

    team = ThreadTeam(n_threads)
    team.install(model.table)
    return lambda: team.run(0, len(model.table), 1)


def _parallel(model: _Products) -> Any:
    from numba import njit, prange

    from dllama_engine.kernels.ops.compiled import call_operation
    from dllama_engine.tables.operations import FUNCTION, GRAIN, ITEMS

    @njit(parallel=True, nogil=True)
    def run(table: Any) -> None:
        """Each operation is a parallel region, whose end all threads must reach.

        Its chunks are alike, as static scheduling wants them.
        """
        for op in range(table.shape[0]):
            grain, items = table[op, GRAIN], table[op, ITEMS]
            for chunk in prange((items + grain - 1) // grain):
                first = chunk * grain
                last = min(first + grain, items)
                call_operation(table[op, FUNCTION], (table[op].ctypes.data, 1, 0, 0, first, last))

    return lambda: run(model.table)


if __name__ == "__main__":
    main()
