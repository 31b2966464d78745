"""What a step costs beside its work: the same table of operations on the smallest sizes.

Python, the hand-over to compiled code, the threads' sharing out and every operation's start are
all there; what they work on is a few hundred numbers. So it is an upper bound.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.table import Row
from engine.model_file import ModelFile
from engine.root import Observer, Root, RootOptions
from engine.sharding import make_plan
from engine.synthetic import write_synthetic

SHAPE = "llama-160m"
_SMALLEST = "dim=64,hidden_dim=64,n_heads=2,vocab_size=512"
AT_MOST = 0.05
_STEPS = 40
_CONTEXT = 64


def dispatch_rows(models: Path, threads: list[int], rounds: int) -> list[Row]:
    """Steps of the smallest model with as many layers, in turns with steps of the real one."""
    rows = []
    small, _ = write_synthetic(f"{SHAPE},{_SMALLEST}", models)
    real, _ = write_synthetic(SHAPE, models)
    for n in threads:
        where = f"{n} thread{'s' * (n > 1)}"
        row = Row(f"dispatch, {SHAPE}, {where}", "us", "a step", at_most=AT_MOST)
        with ModelFile.open(small) as small_model, ModelFile.open(real) as real_model:
            dispatching, working = _ready(small_model, n), _ready(real_model, n)
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


def _step_us(root: Root) -> float:
    """Median over some decode steps, the root's own part (embedding, accounts) among it."""
    times_s = []
    for index in range(_STEPS):
        start_s = time.perf_counter()
        root.forward([1], _CONTEXT + index, 1)
        times_s.append(time.perf_counter() - start_s)
    return float(np.median(times_s)) * 1e6
