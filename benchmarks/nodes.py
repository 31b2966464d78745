"""Several local nodes: real processes through `dllama-py`, against one node with two threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.table import Row, target

STEPS = 48
TARGETS = {2: 0.9, 4: 0.8, 8: 0.7}  # against one node with two threads, on two cores


def command(*arguments: str) -> list[str]:
    """A command line of `dllama-py` that ends with this process."""
    parent = str(os.getpid())
    return [sys.executable, "-m", "dllama_engine.cli", *arguments, "--exit-with-parent", parent]


def one_request(model: Path, n_nodes: int, n_threads: int, *more: str) -> tuple[float, float]:
    """On fresh processes: tokens/s, median over the decode steps, and seconds to load."""
    with ExitStack() as stack:
        addresses = [start_worker(stack) for _ in range(n_nodes - 1)]
        line = command(
            "inference", "--model", str(model), "--tokenizer", str(model.with_suffix(".t")),
            "--prompt", "a", "--steps", str(STEPS), "--nthreads", str(n_threads),
            "--max-seq-len", "256", "--temperature", "0", "--events", "-", *more,
        )  # fmt: skip
        if addresses:
            line += ["--workers", *addresses]
        result = subprocess.run(line, capture_output=True, text=True, check=True, timeout=300)
    events = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    times_ns = [e["end_ns"] - e["start_ns"] for e in events if e.get("phase") == "decode"]
    (load_s,) = [event["load_s"] for event in events if event["event"] == "ready"]
    return 1e9 / float(median(times_ns[2:])), load_s


def start_worker(stack: ExitStack, *more: str) -> str:
    """A new worker with one thread, ended with the stack; its address once it listens."""
    worker = stack.enter_context(
        subprocess.Popen(
            command("worker", "--port", "0", "--nthreads", "1", "--events", "-", *more),
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
    """Decode on each node count, in turns with one node on two threads; and how they load."""
    name = model.stem.removeprefix("synthetic-")
    one_node_load = Row(f"load, {name}, 1 node x 2 threads", "s", "")
    decode = [
        Row(f"decode, {name}, {n} nodes x 1 thread", "tokens/s", "1 node x 2") for n in counts
    ]
    for n, row in zip(counts, decode, strict=True):
        row.target = target(name, TARGETS.get(n))
    load = [Row(f"load, {name}, {n} nodes x 1 thread", "s", "1 node x 2") for n in counts]
    for _ in range(rounds):
        alone, alone_s = one_request(model, 1, 2)
        one_node_load.samples.append(alone_s)
        for n, decode_row, load_row in zip(counts, decode, load, strict=True):
            found, load_s = one_request(model, n, 1)
            decode_row.samples.append(found)
            decode_row.yard_samples.append(alone)
            load_row.samples.append(load_s)
            load_row.yard_samples.append(alone_s)
    return [*decode, one_node_load, *load]
