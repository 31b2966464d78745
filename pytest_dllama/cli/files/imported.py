"""What commands that make a run file of other files share: where to, and what is kept there."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path

from pytest_dllama.config.values import digits


def add_output(command: argparse.ArgumentParser) -> None:
    """Declare -o and --force."""
    command.add_argument(
        "-o", "--output", type=Path, default=Path("run.json"), metavar="RUN.json",
        help="run file to write (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--force", action="store_true", help="replace the run file if it is there already"
    )


def output_of(arguments: argparse.Namespace) -> Path:
    """Where the run file belongs.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
    """
    output: Path = arguments.output
    if output.exists() and not arguments.force:
        raise FileExistsError(
            errno.EEXIST,
            "is there already; give another -o, or --force to replace it",
            str(output),
        )
    return output


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    if not (number := digits(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return number
