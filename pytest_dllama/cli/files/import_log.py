"""`pytest-dllama import-log`: the command line of `import_log`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.cli.files.imported import add_output, output_of, positive
from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportLogError, ImportOptions
from pytest_dllama.history.run_files import write_run
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.verdict.limits.thresholds import Thresholds
from pytest_dllama.verdict.limits.thresholds_file import load_thresholds


def add_import_log(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "import-log",
        help="make a run file of logs of the real dllama",
        description="Read what dllama (upstream or fork) printed, the root's logs and, where they "
        "are at hand, the workers'; several runs of one model and node count become repeats.",
        epilog="example: pytest-dllama import-log root.log worker1.log -o run.json && "
        "pytest-dllama report run.json",
    )
    parser.add_argument("logs", metavar="LOG", type=Path, nargs="+", help="dllama's output")
    add_output(parser)
    parser.add_argument(
        "--nodes",
        metavar="N",
        type=positive,
        help="node count of the runs, the root counted, where the logs do not tell",
    )
    parser.add_argument(
        "--model-name",
        metavar="NAME",
        default="",
        help="the model's name in the report (default: made of its figures; logs have no name)",
    )
    parser.add_argument(
        "--nthreads", metavar="N", type=positive, help="threads of each node, for the report"
    )
    parser.add_argument(
        "--thresholds",
        metavar="FILE.toml",
        type=Path,
        help="limits to judge the cells by, as `pytest --thresholds` takes them",
    )
    parser.add_argument(
        "--model-file",
        metavar="MODEL.m",
        type=Path,
        help="the model that was run: adds the bytes that each token must read",
    )
    parser.add_argument(
        "--memory-gb-per-s",
        metavar="RATE",
        type=_rate,
        help="with --model-file: measured memory bandwidth of each machine, in 10^9 bytes a "
        "second; adds the memory roofline",
    )
    parser.set_defaults(command=_import_log)


def _import_log(arguments: argparse.Namespace) -> int:
    output = output_of(arguments)
    limits, rate = arguments.thresholds, arguments.memory_gb_per_s
    options = ImportOptions(
        nodes=arguments.nodes,
        model_name=arguments.model_name,
        nthreads=arguments.nthreads,
        thresholds=load_thresholds(limits) if limits is not None else Thresholds(),
        model_file=arguments.model_file,
        memory_bytes_per_s=None if rate is None else rate * 1e9,
    )
    if rate is not None and arguments.model_file is None:
        raise ImportLogError(
            f"--memory-gb-per-s {rate:g} without --model-file: what a token must read is not known"
        )
    run = import_logs(arguments.logs, options)
    write_run(run, output)
    for cell in run.cells:
        nodes = counted(cell.nodes, "node")
        if cell.error is not None:
            print(f"{cell.model}, {nodes}: {cell.status}: {cell.error}")
        else:
            n, speed = len(cell.samples), _speed(cell)
            print(f"{cell.model}, {nodes}: {counted(n, 'run')}, {speed}")
    for note in run.notes:
        if note.startswith("--nodes"):
            print(f"note: {note}", file=sys.stderr)
    print(output)
    return 0


def _speed(cell: CellRecord) -> str:
    for name, words in (("tokens_per_s", "tokens/s"), ("decode_tokens_per_s", "tokens/s decoded")):
        if name in cell.metrics:
            return f"{cell.metrics[name].value:.2f} {words}"
    return "no speed"


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate above 0")
    return rate
