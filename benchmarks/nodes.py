"""Several local nodes: real processes through `dllama-py`, against one node with two threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.table import Row

STEPS = 48
TARGETS = {2: 0.9, 4: 0.8, 8: 0.7}  # against one node with two threads, on two cores


def _command(*arguments: str) -> list[str]:
    parent = str(os.getpid())
    return [sys.executable, "-m", "engine.cli", *arguments, "--exit-with-parent", parent]


def tokens_a_second(model: Path, n_nodes: int, n_threads: int) -> float:
    """One request on fresh processes; median over its decode steps."""
    with ExitStack() as stack:
        addresses = [_start_worker(stack) for _ in range(n_nodes - 1)]
        command = _command(
            "inference", "--model", str(model), "--tokenizer", str(model.with_suffix(".t")),
            "--prompt", "a", "--steps", str(STEPS), "--nthreads", str(n_threads),
            "--max-seq-len", "256", "--temperature", "0", "--events", "-",
        )  # fmt: skip
        if addresses:
            command += ["--workers", *addresses]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    steps = [json.loads(line) for line in result.stdout.splitlines() if '"step"' in line]
    times_ns = [s["end_ns"] - s["start_ns"] for s in steps if s.get("phase") == "pred"]
    return 1e9 / float(median(times_ns[2:]))


def _start_worker(stack: ExitStack) -> str:
    worker = stack.enter_context(
        subprocess.Popen(
            _command("worker", "--port", "0", "--nthreads", "1", "--events", "-"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    )
    stack.callback(worker.terminate)
    assert worker.stdout is not None
    for line in worker.stdout:
        event = json.loads(line)
        if event["event"] == "listening":
            return f"127.0.0.1:{event['port']}"
    raise RuntimeError(f"a worker ended with code {worker.wait()}")


def node_rows(model: Path, counts: list[int], rounds: int) -> list[Row]:
    """Decode on each node count, in turns with one node on two threads."""
    name = model.stem.removeprefix("synthetic-")
    rows = [
        Row(f"decode, {name}, {n} nodes x 1 thread", "tokens/s", "1 node x 2", target=TARGETS[n])
        for n in counts
    ]
    for _ in range(rounds):
        alone = tokens_a_second(model, 1, 2)
        for row, n in zip(rows, counts, strict=True):
            row.yard_samples.append(alone)
            row.samples.append(tokens_a_second(model, n, 1))
    return rows
