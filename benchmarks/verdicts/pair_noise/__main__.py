"""`python -m benchmarks.verdicts.pair_noise`: where the noise of a pair comes from; remedies.

Sessions of fresh processes as the suites start them, each with its request several times in a row,
in blocks over time, models in turns. Prints standard deviations (ln) by level, what the first
request of a session has that the others have not, and how many requests a session give the most
for the time. Two rows of each cell are of no engine: memory, read as long as a request takes and by
as many threads, and caches for as long as a TTFT: what of the noise is the machine's. Let nothing
else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sessions.defaults import suite_config
from benchmarks.sessions.processes import start_worker
from benchmarks.sessions.usage import usage_errors
from benchmarks.table import markdown_table
from benchmarks.verdicts.pair_noise.levels import levels, pair_of_medians_sd
from dllama_engine.tools.bandwidth import MemoryProbe
from pytest_dllama.lab.progress import PlainLines
from pytest_dllama.models.model_files import ModelUnderTest, open_model
from pytest_dllama.record.cell import steady_mean

DEADLINE_S = 120.0
# What the machine does without an engine: bytes of a buffer, and how often a reading reads it.
YARDSTICKS = {
    "memory": (1 << 28, 24),  # a tenth of a second or two
    "caches": (1 << 20, 500),  # 10 ms
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a session."""

    ttft_s: float
    itl_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """Requests of one root, the first one cold."""

    requests: tuple[Request, ...]
    wall_s: float  # all of it, starts included
    yardsticks_s: Mapping[str, Sequence[float]]  # readings just before it


FIGURES: dict[str, Callable[[Request], float]] = {
    "TTFT": lambda request: request.ttft_s,
    "TPOT": lambda request: statistics.fmean(request.itl_ms),
    "steady TPOT": lambda request: steady_mean(request.itl_ms) or 0.0,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the tables."""
    parser = _parser()
    options = parser.parse_args(argv)
    with usage_errors(parser):
        found = measure(options)
    head = ["cell", "figure", "median", "within a session", "between sessions", "over time"]
    rows = (row for cell, blocks in found.items() for row in _rows(cell, blocks))
    medians = f"of medians of {options.requests}"
    print(markdown_table([*head, "pair of one request", medians, "first request", "best"], rows))
    return 0


def measure(options: argparse.Namespace) -> dict[str, list[list[Session]]]:
    """Sessions by cell, (blocks, sessions); models in turns."""
    with tempfile.TemporaryDirectory() as folder:
        config = suite_config(options.models, [options.nodes], options.steps, Path(folder))
        progress = PlainLines(lambda text: print(text, file=sys.stderr, flush=True))
        with progress.running():
            opened = {s.name: open_model(s, progress.transfer) for s in config.models}
        probes = {name: MemoryProbe(n_bytes) for name, (n_bytes, _) in YARDSTICKS.items()}
        found: dict[str, list[list[Session]]] = {f"{name}-{options.nodes}": [] for name in opened}
        for block in range(options.blocks):
            for blocks in found.values():
                blocks.append([])
            for _ in range(options.sessions):
                for name, model in opened.items():
                    readings = {
                        yardstick: [
                            sum(probe.seconds(options.nodes, YARDSTICKS[yardstick][1]))
                            for _ in range(options.requests)
                        ]
                        for yardstick, probe in probes.items()
                    }
                    found[f"{name}-{options.nodes}"][block].append(
                        _session(model, options, config.prompt, readings)
                    )
            progress.settle(f"block {block + 1} of {options.blocks}")
    return found


def _session(
    model: ModelUnderTest,
    options: argparse.Namespace,
    prompt: str,
    yardsticks_s: Mapping[str, Sequence[float]],
) -> Session:
    start_s = time.perf_counter()
    with ExitStack() as stack:
        workers = [start_worker(stack) for _ in range(options.nodes - 1)]
        command = [
            *(
                sys.executable,
                "-m",
                "benchmarks.verdicts.pair_noise.session",
                str(1 + options.requests),
            ),
            *("inference", "--model", str(model.model_file)),
            *("--tokenizer", str(model.tokenizer_file), "--prompt", prompt),
            *("--steps", str(options.steps), "--nthreads", "1", "--temperature", "0"),
            *("--buffer-float-type", "q80", "--exit-with-parent", str(os.getpid())),
            *(("--cores", options.cores, "--workers", *workers) if workers else ()),
        ]
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, timeout=DEADLINE_S
        )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    requests = tuple(Request(line["ttft_s"], tuple(line["itl_ms"])) for line in lines)
    return Session(requests, time.perf_counter() - start_s, yardsticks_s)


def _rows(cell: str, blocks: Sequence[Sequence[Session]]) -> Iterator[list[str]]:
    sessions = [session for block in blocks for session in block]
    request_s = statistics.median(_length_s(r) for s in sessions for r in s.requests[1:])
    start_s = statistics.median(
        s.wall_s - sum(_length_s(r) for r in s.requests[1:]) for s in sessions
    )
    for name, figure in FIGURES.items():
        warm = [[[figure(r) for r in s.requests[1:]] for s in block] for block in blocks]
        found = levels(warm)
        colder = [
            figure(s.requests[0]) / statistics.median(map(figure, s.requests[1:])) for s in sessions
        ]
        best = found.best_requests(start_s, request_s)
        gain = _gain(found.pair_sd(), found.pair_sd(best), best, start_s, request_s)
        yield [
            *(cell, name, _shown(name, statistics.median(map(figure, sessions[0].requests[1:])))),
            *(_percent(sd) for sd in (found.request, found.session, found.block)),
            *(_percent(found.pair_sd()), _percent(pair_of_medians_sd(warm))),
            *(f"{100 * (statistics.median(colder) - 1):+.1f} %", f"{best} a session: {gain}"),
        ]
    for name, (n_bytes, passes) in YARDSTICKS.items():
        readings = [[session.yardsticks_s[name] for session in block] for block in blocks]
        found = levels(readings)
        median_s = statistics.median(s for block in readings for session in block for s in session)
        by_level = (
            *(found.request, found.session, found.block, found.pair_sd()),
            pair_of_medians_sd(readings),
        )
        rate = f"{n_bytes * passes / median_s / 1e9:.1f} GB/s"
        yield [cell, name, rate, *(_percent(sd) for sd in by_level), "", ""]


def _gain(one_sd: float, best_sd: float, best: int, start_s: float, request_s: float) -> str:
    """Pairs of one request a session that as much time and knowledge would take."""
    if best_sd == 0:
        return "-"
    times = (one_sd / best_sd) ** 2 * (start_s + request_s) / (start_s + best * request_s)
    return f"{times:.1f} x"


def _length_s(request: Request) -> float:
    return request.ttft_s + sum(request.itl_ms) / 1e3


def _shown(name: str, value: float) -> str:
    return f"{1e3 * value:.1f} ms" if name == "TTFT" else f"{value:.2f} ms"


def _percent(sd: float) -> str:
    return f"{100 * sd:.1f} %"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts.pair_noise", description=__doc__
    )
    parser.add_argument("--models", nargs="+", default=["tiny", "synthetic:llama-160m"])
    parser.add_argument(
        "--cores", choices=("own", "any"), default="own",
        help="whether nodes that fill the cores stay on their own (default: %(default)s)",
    )  # fmt: skip
    for flag, default, text in (
        ("--nodes", 2, "of the cluster"),
        ("--steps", 64, "positions of a request"),
        ("--blocks", 8, "of time"),
        ("--sessions", 6, "of each model in a block"),
        ("--requests", 5, "of a session that count; one before them is cold"),
    ):
        parser.add_argument(
            flag, type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
