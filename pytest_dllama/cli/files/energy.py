"""`pytest-dllama energy`: a meter's file that came after the run, put into a run file."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_dllama.cli.files.imported import add_output, output_of
from pytest_dllama.history.run_files import read_run, write_run
from pytest_dllama.lab.power.afterwards import with_meter


def add_energy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "energy",
        help="put the energy of a meter's file into a run file",
        description="Read the CSV that a meter at the plug has exported after the run, and write "
        "the run file with J/token and tokens/s for each W. docs/metrics.md says what the file "
        "must look like. Idle power and limits need --power during the run.",
        epilog="example: pytest-dllama energy report/run.json --power meter.csv -o energy.json && "
        "pytest-dllama report energy.json",
    )
    command.add_argument("run", type=Path, metavar="RUN.json", help="the run file")
    command.add_argument(
        "--power", type=Path, required=True, metavar="FILE", help="the meter's CSV"
    )
    add_output(command)
    command.set_defaults(command=_energy)


def _energy(arguments: argparse.Namespace) -> int:
    output = output_of(arguments)
    run = with_meter(read_run(arguments.run), arguments.power)
    write_run(run, output)
    for cell in run.cells:
        found = cell.metrics.get("j_per_token")
        machines = cell.energy.machines if cell.energy else ()
        reason = next((machine.why_not for machine in machines if machine.why_not), None)
        print(f"{cell.id}: {f'{found.value:.4g} J/token' if found else reason or 'no requests'}")
    print(output)
    return 0
