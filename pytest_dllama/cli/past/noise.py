"""`pytest-dllama noise`: what the cluster's calibration says about its noise."""

from __future__ import annotations

import argparse

from pytest_dllama.cli.past.where import add_where, store_of
from pytest_dllama.history.noise.calibrations import calibrations
from pytest_dllama.report.lists.noise import noise_lines
from pytest_dllama.report.lists.table import FORMATS


def add_noise(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `noise`."""
    parser = commands.add_parser(
        "noise",
        help="this cluster's noise, and what so many pairs can find",
        description="Show the last calibration: how much A/A pairs scatter, which change 3, 5 and "
        "10 pairs find with 90 % power, and what they cost. `pytest-dllama calibrate` makes one.",
    )
    add_where(parser)
    parser.add_argument("--all", action="store_true", help="every calibration, not the last alone")
    parser.add_argument("--format", choices=FORMATS, default="text", help="(default: text)")
    parser.set_defaults(command=_noise)


def _noise(arguments: argparse.Namespace) -> int:
    store = store_of(arguments)
    found = calibrations(store).entries()
    if not found:
        print(f"{store.fingerprint} is not calibrated; `pytest-dllama calibrate` does it")
        return 0
    for calibration in found if arguments.all else found[-1:]:
        print("\n".join(noise_lines(store, calibration, arguments.format)))
    return 0
