"""`pytest-dllama import-report`: a report that a person wrote, as a run file."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.cli.files.imported import add_output, output_of
from pytest_dllama.forensics.import_report import import_report
from pytest_dllama.history.run_files import write_run


def add_import_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "import-report",
        help="make a run file of a hand-written scaling report",
        description="Read a Markdown report that a person wrote from dllama's closing blocks and "
        "the fork's network monitor (in Korean or English, one section a node count, or its "
        "summary tables). Figures are taken as printed; what is wrong with them becomes notes.",
        epilog="example: pytest-dllama import-report scaling.ko.md -o run.json && pytest-dllama "
        "report run.json",
    )
    command.add_argument("report", type=Path, metavar="FILE.md", help="the report")
    add_output(command)
    command.set_defaults(command=_import_report)


def _import_report(arguments: argparse.Namespace) -> int:
    output = output_of(arguments)
    run = import_report(arguments.report)
    write_run(run, output)
    for cell in run.cells:
        nodes = counted(cell.nodes, "node")
        speed = cell.metrics.get("tokens_per_s")
        what = cell.error or (f"{speed.value:.2f} tokens/s" if speed else "no speed")
        print(f"{cell.model}, {nodes}: {what}")
    for note in run.notes[1:]:
        print(f"note: {note}")
    print(output)
    return 0
