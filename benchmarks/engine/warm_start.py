"""`python -m benchmarks.engine.warm_start`: command to first token, with what workers keep.

Local workers that already listen, weights sent as over a network (`--local-weights send`). In
turns: cold (nothing is kept), warm (digests only are sent), and mapped (`--local-weights map`, the
default of local nodes) beside them. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.sessions.processes import command, environ, start_worker
from benchmarks.table import Row, as_markdown, as_text, target
from dllama_engine.synthetic.model import write_synthetic
from pytest_dllama.models.kept import cache_folder

AT_MOST_S = 1.5  # the 1.1B shape on four local nodes


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.warm_start", description=__doc__
    )
    parser.add_argument("--shape", default="tinyllama-1.1b", metavar="SHAPE")
    parser.add_argument("--nodes", type=int, default=4, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--markdown", action="store_true", help="a table for a document")
    options = parser.parse_args(argv)
    model, _ = write_synthetic(options.shape, cache_folder())
    with tempfile.TemporaryDirectory(prefix="dllama-warm-start-") as kept:
        rows = measure(model, options.shape, options.nodes, options.rounds, Path(kept))
    print((as_markdown if options.markdown else as_text)(rows))
    return 0


def measure(model: Path, shape: str, nodes: int, rounds: int, kept: Path) -> list[Row]:
    """Rows of a cold, a warm and a mapped start; what is kept lies in `kept` meanwhile."""
    what = f"first token, {shape}, {nodes} nodes"
    cold, mapped = Row(f"{what}, cold", "s", ""), Row(f"{what}, mapped", "s", "")
    warm = Row(f"{what}, warm", "s", "", at_most=target(shape, AT_MOST_S))
    with ExitStack() as stack:
        folder = kept / "weights"
        cache = ("--weight-cache", str(folder))
        workers = [start_worker(stack, *cache) for _ in range(nodes - 1)]
        first_token(model, workers, "map")  # whatever is not compiled yet, and the file's pages
        for _ in range(rounds):
            shutil.rmtree(folder, ignore_errors=True)
            for row, how, source in (
                (cold, "send", "sent"), (warm, "send", "cache"), (mapped, "map", "mapped"),
            ):  # fmt: skip
                seconds, sources = first_token(model, workers, how)
                assert set(sources) == {source}, sources
                row.samples.append(seconds)
    return [cold, warm, mapped]


def first_token(model: Path, workers: Sequence[str], how: str) -> tuple[float, list[str]]:
    """Seconds from starting a root to its first token, and where the workers' weights came from."""
    line = command(
        "inference", "--model", str(model), "--tokenizer", str(model.with_suffix(".t")),
        "--prompt", "a", "--steps", "4", "--max-seq-len", "256", "--temperature", "0",
        "--local-weights", how, "--events", "-", "--workers", *workers,
    )  # fmt: skip
    start_s, seconds, sources = time.perf_counter(), None, []
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ()
    ) as root:
        assert root.stdout is not None
        for text in root.stdout:
            event = json.loads(text)
            if event["event"] == "ready":
                sources = [share["source"] for share in event["shares"]]
            elif event.get("phase") == "decode" and seconds is None:
                seconds = time.perf_counter() - start_s
        errors = root.communicate()[1]
    if seconds is None:
        raise RuntimeError(f"the root gave no token: {errors}")
    return seconds, sources


if __name__ == "__main__":
    sys.exit(main())
