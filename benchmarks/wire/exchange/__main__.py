"""`python -m benchmarks.wire.exchange`: every collective beside its yardsticks, in turns.

rounds   the frames of one all-reduce, against a C program (exchange.c, compiled here by cc) that
         sends the same frames over the same kind of sockets
sums     all-reduces of float32, sums included, against Gloo's where torch is installed
decode   a model on real processes, each collective against the mesh
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

from benchmarks.sessions.processes import one_request
from benchmarks.table import Row, as_markdown, load_line
from benchmarks.table import as_text as rows_as_text
from benchmarks.wire.exchange.schedule import as_text, frames
from dllama_engine.cluster.placement import CoreSlots
from dllama_engine.formats.paths import model_path
from dllama_engine.kernels.image import mapped
from dllama_engine.sharding.collective import Collective
from dllama_engine.system.process import prepare

NAMES = tuple(str(name) for name in Collective)
TARGET = 1.5  # times the C program's
_TIMEOUT_S = 120.0
_HERE = Path(__file__).parent
Times = tuple[int, int]  # repeats, warm-up


def main() -> None:
    """Parse the options, measure, print."""
    options = _parser().parse_args()
    prepare()
    if not mapped.use(print):  # else every rank would compile for itself
        subprocess.run([sys.executable, "-m", "dllama_engine.kernels.compiler.build"], check=True)
    times: Times = (options.exchanges, max(20, options.exchanges // 10))
    notes: list[str] = []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        program = _compiled(Path(folder), notes)
        has_gloo = find_spec("torch") is not None
        if not has_gloo:
            notes.append("Gloo was not measured: torch is not installed.")
        for n in options.ranks:
            for size in options.sizes:
                rows += _rounds_rows(program, n, size, options, times)
                rows += _sums_rows(has_gloo, n, size, options, times)
    for n in options.ranks if options.model else ():
        rows += _decode_rows(options, n)
    if options.markdown:
        listed = "".join(f"\n- {note}" for note in notes)
        options.markdown.write_text(f"{as_markdown(rows)}\n{listed}\n")
    print(rows_as_text(rows))
    print(*notes, load_line(), sep="\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wire.exchange",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = partial(parser.add_argument, type=int, metavar="N")
    add("--ranks", nargs="+", default=[2, 4, 8])
    add("--sizes", nargs="+", default=[4096, 65536], help="bytes")
    parser.add_argument("--collectives", nargs="+", default=NAMES, choices=NAMES, metavar="NAME")
    add("--rounds", default=5, help="of each pair (default: 5)")
    add("--exchanges", default=400, help="in a row (default: 400)")
    parser.add_argument("--model", help="a model file, or tiny: decode it too", metavar="FILE.m")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    return parser


def _rounds_rows(
    program: Path | None, n: int, size: int, options: argparse.Namespace, times: Times
) -> list[Row]:
    """The frames alone, each collective in turns with the C program on the same frames."""
    rows = [
        Row(f"frames of {size} B among {n}, {name}", "us", "C" if program else "", at_most=TARGET)
        for name in options.collectives
    ]
    for _ in range(options.rounds):
        for name, row in zip(options.collectives, rows, strict=True):
            row.samples.append(_engine_us("rounds", name, n, size, times))
            if program:
                row.yard_samples.append(_c_us(program, name, n, size, times))
    return rows


def _sums_rows(
    has_gloo: bool, n: int, size: int, options: argparse.Namespace, times: Times
) -> list[Row]:
    """Whole all-reduces, each collective in turns with Gloo's."""
    yardstick = "Gloo" if has_gloo else ""
    rows = [
        Row(f"sum of {size} B in f32 on {n}, {name}", "us", yardstick, at_most=1.0)
        for name in options.collectives
    ]
    for row in rows if not has_gloo else ():
        row.at_most = None  # nothing to be compared with
    for _ in range(options.rounds):
        for name, row in zip(options.collectives, rows, strict=True):
            row.samples.append(_engine_us("sums", name, n, size, times))
            if has_gloo:
                row.yard_samples.append(_gloo_us(n, size, times))
    return rows


def _decode_rows(options: argparse.Namespace, n: int) -> list[Row]:
    """Tokens a second of a real cluster: each collective and auto, in turns with the mesh."""
    model = model_path(options.model)
    names = [name for name in (*options.collectives, "auto") if name != "mesh"]
    rows = [Row(f"decode, {model.stem}, {n} nodes, {name}", "tokens/s", "mesh") for name in names]
    for _ in range(options.rounds):
        mesh = one_request(model, n, 1)[0]
        for name, row in zip(names, rows, strict=True):
            row.samples.append(one_request(model, n, 1, "--collective", name)[0])
            row.yard_samples.append(mesh)
    return rows


# -- processes ----------------------------------------------------------------------------------


def _engine_us(what: str, name: str, n: int, size: int, times: Times) -> float:
    head = [sys.executable, "-m", "benchmarks.wire.exchange.rank", what, name, str(size)]
    commands = [[*head, str(rank), *map(str, times)] for rank in range(n)]
    return _first_rank_us(commands, [""] * n)


def _c_us(program: Path, name: str, n: int, size: int, times: Times) -> float:
    schedules = [as_text(frames(Collective(name), rank, n, size)) for rank in range(n)]
    return _first_rank_us([[str(program), *map(str, times)]] * n, schedules)


def _gloo_us(n: int, size: int, times: Times) -> float:
    with tempfile.TemporaryDirectory() as folder:
        head = [sys.executable, "-m", "benchmarks.wire.exchange.gloo", f"{folder}/store", str(size)]
        commands = [[*head, str(rank), str(n), *map(str, times)] for rank in range(n)]
        return _first_rank_us(commands, [""] * n, with_sockets=False)


def _first_rank_us(
    commands: Sequence[Sequence[str]], inputs: Sequence[str], *, with_sockets: bool = True
) -> float:
    """Run all ranks, each with a socket to every other; microseconds that the first one printed.

    They stay on cores in turn, as the engine's ranks do.
    """
    n, cores = len(commands), sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        ends = _connected(n) if with_sockets else [{} for _ in range(n)]
        started = []
        for rank, command in enumerate(commands):
            descriptors = [ends[rank].get(peer, -1) for peer in range(n)] if with_sockets else []
            own = CoreSlots(rank, 1, n).cores(cores) or cores
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, *map(str, descriptors)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    pass_fds=[fd for fd in descriptors if fd >= 0],
                    preexec_fn=partial(os.sched_setaffinity, 0, own),
                )
            )
            stack.callback(process.kill)
            started.append(process)
        for ends_of_rank in ends:
            for descriptor in ends_of_rank.values():
                os.close(descriptor)
        for process, text in zip(started, inputs, strict=True):  # all of them, before any is read
            assert process.stdin is not None
            process.stdin.write(text)
            process.stdin.close()
            process.stdin = None
        said = [process.communicate(timeout=_TIMEOUT_S)[0] for process in started]
        codes = [process.returncode for process in started]
        if any(codes):
            raise RuntimeError(f"{commands[0]}: the ranks ended with codes {codes}")
    return 1e6 * float(said[0])


def _connected(n: int) -> list[dict[int, int]]:
    """A TCP connection over loopback between every two ranks: descriptors, by rank and peer."""
    ends: list[dict[int, int]] = [{} for _ in range(n)]
    for a, b in combinations(range(n), 2):
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            far, _ = server.accept()
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends[a][b], ends[b][a] = near.detach(), far.detach()
    return ends


def _compiled(folder: Path, notes: list[str]) -> Path | None:
    """The C program; None, and why, where it cannot be had."""
    compiler = shutil.which("cc")
    if compiler is None:
        notes.append("The C program was not measured: there is no cc.")
        return None
    program = folder / "exchange"
    command = [compiler, "-O2", "-o", str(program), str(_HERE / "exchange.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        notes.append(f"The C program was not measured: cc failed ({done.stderr.strip()[:200]}).")
        return None
    return program


if __name__ == "__main__":
    main()
