"""`pytest-dllama thresholds init RUN`: a first thresholds file, from what was measured."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.run import RunRecord
from pytest_dllama.verdict.limits.limit import TOLERANCES, ThresholdError
from pytest_dllama.verdict.limits.margins import NothingToLimit, relative_table, thresholds_text


def add_thresholds(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("thresholds", help="write a first thresholds file from runs")
    what = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    init = what.add_parser(
        "init",
        help="limits from measured runs, with margins from their noise",
        description="Write a thresholds file with a limit for every time, rate, memory figure and "
        "byte count of every cell that passed. Three runs or more of the same machines tell how "
        "much its nights differ; fewer get the margin that other machines needed.",
        epilog="example: pytest-dllama thresholds init report/run.json report/history/*.json "
        "-o limits.toml",
    )
    init.add_argument("runs", metavar="RUN.json", type=Path, nargs="+", help="run files")
    init.add_argument(
        "-o", "--output", metavar="FILE", type=Path,
        help="the file to write, which must not be there yet (default: to the terminal)",
    )  # fmt: skip
    init.set_defaults(command=_init)


def _init(arguments: argparse.Namespace) -> int:
    runs = sorted(map(read_run, arguments.runs), key=lambda run: run.created_utc)
    _check_machines(runs)
    _check_speed(runs)
    names = [path.name for path in arguments.runs]
    try:
        text = thresholds_text(runs, names)
    except NothingToLimit as error:
        raise ThresholdError(str(error)) from None
    text += "\n" + "\n".join(relative_table(TOLERANCES)) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    if arguments.output.exists():
        raise ThresholdError(f"{arguments.output} exists; name another file, or remove it first")
    write_whole(arguments.output, text)
    print(arguments.output)
    return 0


def _check_speed(runs: list[RunRecord]) -> None:
    """What was slowed down on purpose is no limit of anything."""
    for run in runs:
        if inject := run.request.inject:
            raise ThresholdError(
                f"the run of {run.created_utc} was slowed down on purpose (--inject {inject}); "
                "give runs that were not"
            )


def _check_machines(runs: list[RunRecord]) -> None:
    """Limits of several machines at once would be of none."""
    prints = list(dict.fromkeys(run.fingerprint or "unknown" for run in runs))
    if len(prints) > 1:
        raise ThresholdError(
            f"these runs are of different machines ({', '.join(prints)}); give runs of one"
        )
