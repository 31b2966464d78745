"""`pytest-dllama calibrate [N] [OPTION ...]`: A/A pairs, kept as what is known of the noise."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_dllama.cli.past.again import Measuring, own_parser
from pytest_dllama.config.baseline import CALIBRATION_PAIRS, parse_calibration
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.store import HistoryError

NAME = "calibrate"
UNUSABLE = ("INVALID", "ERROR")


def add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `calibrate`; all but N goes to the comparison."""
    parser = commands.add_parser(
        NAME,
        help="learn this cluster's noise from A/A pairs",
        description=f"Take N pairs (default {CALIBRATION_PAIRS}) of the engine against itself in "
        "every cell, keep how they scatter, and print what 3, 5 and 10 pairs can find and cost. "
        "Options are those of the suites: --nodes, --models, --hosts and so on. Verdicts on the "
        "same machines are judged with what was learnt.",
        usage="pytest-dllama calibrate [N] [--history DIR] [--report DIR] [OPTION ...]",
    )
    parser.set_defaults(command=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    own, options = own_parser(NAME).parse_known_args(arguments.pytest_args)
    pairs = CALIBRATION_PAIRS
    if options and not options[0].startswith("-"):
        pairs = _pairs(options.pop(0))
    calibrate(Measuring(tuple(options), own.history), pairs, own.report)
    return 0


def _pairs(text: str) -> int:
    try:
        if pairs := parse_calibration(text):
            return pairs
        raise ConfigError("calibrate 0: that is no pair at all")
    except ConfigError as error:
        raise HistoryError(str(error)) from None


def calibrate(measuring: Measuring, pairs: int, report: Path) -> None:
    """Take A/A pairs and keep what they teach.

    Raises:
        HistoryError: they could not be taken, or no cell was valid.
    """
    found = measuring.calibration(pairs, report / NAME)
    wrong = [f"{cell.id}: {cell.status}" for cell in found.cells if cell.status in UNUSABLE]
    if len(wrong) == len(found.cells):
        raise HistoryError(f"no cell was calibrated: {', '.join(wrong) or 'there is none'}")
