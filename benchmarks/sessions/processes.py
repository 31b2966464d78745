"""Processes of `dllama-py`: a root's command line, a worker that listens, one whole request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from pytest_dllama.hosts.command import own_environ

STEPS = 48


def command(*arguments: str) -> list[str]:
    """A command line of `dllama-py` that ends with this process."""
    parent = str(os.getpid())
    return [sys.executable, "-m", "dllama_engine.cli", *arguments, "--exit-with-parent", parent]


def environ() -> dict[str, str]:
    """What suites start nodes with: a Python that keeps byte code, whatever ours does."""
    return own_environ(os.environ)


def one_request(model: Path, n_nodes: int, n_threads: int, *more: str) -> tuple[float, float]:
    """On fresh processes: tokens/s, median over the decode steps, and seconds to load."""
    with ExitStack() as stack:
        addresses = [start_worker(stack) for _ in range(n_nodes - 1)]
        fault_in(model.stat().st_size)
        events = request_events(model, addresses, n_threads, *more)
    (load_s,) = [event["load_s"] for event in events if event["event"] == "ready"]
    return 1e3 / steady_ms(events), load_s


def fault_in(n_bytes: int) -> None:
    """Have a process write to so much memory and end: whoever comes next is given that memory.

    What nobody has used for two seconds a virtual machine gives back to its host, and to fetch it
    again takes ten times as long: loading on one node, right behind another request, would be
    compared with loading on eight, whose workers take a second to start.
    """
    code = f"import numpy; numpy.ones({n_bytes}, numpy.uint8)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def request_events(
    model: Path, workers: Sequence[str], n_threads: int, *more: str
) -> list[dict[str, Any]]:
    """What a root tells of one request on these workers, which stay."""
    line = command(
        "inference", "--model", str(model), "--tokenizer", str(model.with_suffix(".t")),
        "--prompt", "a", "--steps", str(STEPS), "--nthreads", str(n_threads),
        "--max-seq-len", "256", "--temperature", "0", "--events", "-", *more,
    )  # fmt: skip
    if workers:
        line += ["--workers", *workers]
    result = subprocess.run(
        line, capture_output=True, text=True, check=True, timeout=300, env=environ()
    )
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def steady_ms(events: Sequence[Mapping[str, Any]]) -> float:
    """Median time of a decoded token, without the first two."""
    times_ns = [e["end_ns"] - e["start_ns"] for e in events if e.get("phase") == "decode"]
    return 1e-6 * float(median(times_ns[2:]))


def start_worker(stack: ExitStack, *more: str) -> str:
    """A new worker with one thread, ended with the stack; its address once it listens."""
    return f"127.0.0.1:{listening(stack, *more)['port']}"


def listening(stack: ExitStack, *more: str) -> dict[str, Any]:
    """The same, as the worker tells it: its port and the process's id."""
    worker = stack.enter_context(
        subprocess.Popen(
            command("worker", "--port", "0", "--nthreads", "1", "--events", "-", *more),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ(),
        )
    )
    stack.callback(worker.terminate)
    assert worker.stdout is not None
    for line in worker.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "listening":
            return event
    raise RuntimeError(f"a worker ended with code {worker.wait()}")
