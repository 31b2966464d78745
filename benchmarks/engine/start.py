"""`python -m benchmarks.engine.start`: how light a rank is, beside a Python that imports numpy.

Fresh processes, in turns, kernels compiled: from a command to the first token of `tiny` on one
node, from another to a worker that has its session's kernels; and the memory of either, the
worker's while it waits. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import psutil

from benchmarks.sessions.processes import command, environ, listening, start_worker
from benchmarks.table import Row, as_markdown, as_text
from dllama_engine.cluster.options import RootOptions
from dllama_engine.cluster.root import Root
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path
from dllama_engine.sharding.plan import make_plan
from dllama_engine.telemetry.observer import Observer
from dllama_engine.wire.connecting.token import cluster_token

YARDSTICK = "import numpy"
_LOOK_S = 0.1  # at a worker: one that used no time since is waiting


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, metavar="N", help="(default: 11)")
    parser.add_argument("--markdown", action="store_true", help="a table for a document")
    options = parser.parse_args(argv)
    print((as_markdown if options.markdown else as_text)(start_rows(options.rounds)))
    return 0


def start_rows(rounds: int) -> list[Row]:
    """Times against the yardstick, then memory."""
    token = Row("start to first token, tiny, 1 node", "s", YARDSTICK, at_most=2.9)
    peak = Row("its memory at most", "MB", "", at_most=60)
    ready = Row("worker: start to its session's kernels loaded", "s", YARDSTICK, at_most=2.1)
    idle = Row("worker: memory while it waits", "MB", "", at_most=45)
    worker_ready_s()  # whatever was not compiled yet is now
    for _ in range(rounds):
        numpy_s = import_numpy_s()
        seconds, peak_bytes = first_token()
        token.samples.append(seconds)
        peak.samples.append(1e-6 * peak_bytes)
        ready.samples.append(worker_ready_s())
        idle.samples.append(1e-6 * waiting_bytes())
        token.yard_samples.append(numpy_s)
        ready.yard_samples.append(numpy_s)
    return [token, peak, ready, idle]


def import_numpy_s() -> float:
    """The smallest program that could compute anything here."""
    start_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True, env=environ())
    return time.perf_counter() - start_s


def first_token() -> tuple[float, int]:
    """Seconds from the command to the first token after the prompt; peak memory in bytes."""
    line = command(
        "inference", "--model", "tiny", "--prompt", "a", "--steps", "4", "--nthreads", "1",
        "--max-seq-len", "256", "--temperature", "0", "--events", "-",
    )  # fmt: skip
    start_s, seconds, peak_bytes = time.perf_counter(), None, None
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ()
    ) as root:
        assert root.stdout is not None
        for text in root.stdout:
            event = json.loads(text)
            if event.get("phase") == "decode" and seconds is None:
                seconds = time.perf_counter() - start_s
            elif event["event"] == "rank":
                peak_bytes = event["peak_rss_bytes"]
    if seconds is None or peak_bytes is None:
        raise RuntimeError(f"the root ended with code {root.wait()}")
    return seconds, peak_bytes


def worker_ready_s() -> float:
    """From the command to its word that it is connected; this process has its kernels loaded."""
    with ExitStack() as stack, ModelFile.open(model_path("tiny")) as model:
        start_s = time.perf_counter()
        host, _, port = start_worker(stack).rpartition(":")
        options = RootOptions(workers=((host, int(port)),), token=cluster_token())
        root = Root(model, make_plan(model.config, 2), options, Observer())
        stack.callback(root.close)
        root.connect()  # until the worker says `connected`, after its warm-up
        return time.perf_counter() - start_s


def waiting_bytes() -> int:
    """Memory of a worker that has nothing left to do until a root comes."""
    with ExitStack() as stack:
        worker, spent_s = psutil.Process(listening(stack)["pid"]), -1.0
        while (now_s := sum(worker.cpu_times()[:2])) > spent_s:
            spent_s = now_s
            time.sleep(_LOOK_S)
        return int(worker.memory_info().rss)


if __name__ == "__main__":
    sys.exit(main())
