"""What a step costs beside its work: a real model's table of operations, each doing nothing.

Python, the hand-over to compiled code and between threads, each operation's start and each chunk
that is taken are all there, as often as in a real step. With nothing to do between two chunks the
threads get into each other's way as never in a real step: with several it is an upper bound.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.table import Row
from dllama_engine.cluster.options import RootOptions
from dllama_engine.cluster.root import Root
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.kernels.ops.compiled import operation
from dllama_engine.sharding.plan import make_plan
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.tables.operations import FUNCTION, PAUSE
from dllama_engine.telemetry.observer import Observer

SHAPE = "llama-160m"
AT_MOST = 0.05
_STEPS = 40
_CONTEXT = 64


@operation
def nothing(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """What all operations do in the model that only dispatches."""


def dispatch_rows(models: Path, threads: list[int], rounds: int) -> list[Row]:
    """Steps that do nothing, in turns with steps of the real model."""
    rows = []
    path, _ = write_synthetic(SHAPE, models)
    for n in threads:
        where = f"{n} thread{'s' * (n > 1)}"
        row = Row(f"dispatch, {SHAPE}, {where}", "us", "a step", at_most=AT_MOST)
        with ModelFile.open(path) as model:
            working, dispatching = _ready(model, n), _ready(model, n)
            _empty(dispatching)
            for _ in range(rounds):
                row.samples.append(_step_us(dispatching))
                row.yard_samples.append(_step_us(working))
            for root in (dispatching, working):
                root.close()
        rows.append(row)
    return rows


def _ready(model: ModelFile, n_threads: int) -> Root:
    options = RootOptions(n_threads=n_threads, max_seq_len=2 * _CONTEXT)
    root = Root(model, make_plan(model.config, 1), options, Observer())
    root.connect()
    root.load()
    _step_us(root)
    return root


def _empty(root: Root) -> None:
    """Let each operation of the root's model do nothing."""
    transformer = root._transformer
    assert transformer is not None
    table = transformer._program.table()
    table[table[:, FUNCTION] > PAUSE, FUNCTION] = nothing.address
    transformer._team.install(table)


def _step_us(root: Root) -> float:
    """Median over some decode steps, the root's own part (embedding, accounts) among it."""
    times_s = []
    for index in range(_STEPS):
        start_s = time.perf_counter()
        root.forward([1], _CONTEXT + index, 1)
        times_s.append(time.perf_counter() - start_s)
    return float(np.median(times_s)) * 1e6
