"""`pytest-dllama import-bench`: result files of other benchmarks as a run file."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.cli.files.imported import add_output, output_of, positive
from pytest_dllama.forensics.import_bench import import_bench
from pytest_dllama.history.run_files import write_run


def add_import_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "import-bench",
        help="make a run file of vLLM's, GuideLLM's, AIPerf's or llama-bench's results",
        description="Read result files of vLLM's `bench serve` (best with --save-detailed), "
        "GuideLLM, AIPerf (profile_export.jsonl or profile_export_aiperf.json) and llama-bench "
        "(any -o; json has the repeats), told apart by their keys. Figures are by this project's "
        "definitions, computed from the times in the file; notes say where the tool's own differ.",
        epilog="example: pytest-dllama import-bench llama-bench.json --nodes 1 -o run.json",
    )
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="result files")
    command.add_argument(
        "--nodes", type=positive, default=1, metavar="N",
        help="machines that the engine ran on (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--model-name", default="", metavar="NAME", help="in place of the name in the file"
    )
    add_output(command)
    command.set_defaults(command=_import_bench)


def _import_bench(arguments: argparse.Namespace) -> int:
    output = output_of(arguments)
    run = import_bench(arguments.files, arguments.nodes, arguments.model_name)
    write_run(run, output)
    for cell in run.cells:
        n = len(cell.samples)
        print(f"{cell.id}: {counted(n, 'request')}")
    for note in run.notes[1:]:
        print(f"note: {note}")
    print(output)
    return 0
