"""The `pytest-dllama` command: what is done with a run file once it is measured."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from pytest_dllama import __version__
from pytest_dllama.cli.bench import split_arguments
from pytest_dllama.cli.streams import Parser, prepare_streams, say_error
from pytest_dllama.errors import ToldError
from pytest_dllama.stop_signals import break_off_once, signals_taken

# Each command, where it is declared: only the one that is called is loaded (scipy and paramiko take
# seconds on a Pi). `--help` loads all, in this order.
COMMANDS = {
    "bench": "bench:add_bench",
    "report": "report:add_report",
    "duet": "duet:add_duet",
    "builds": "duet:add_builds",
    "history": "past.history:add_history_command",
    "compare": "past.compare:add_compare",
    "baseline": "past.baseline:add_baseline",
    "calibrate": "past.calibrate:add_calibrate",
    "noise": "past.noise:add_noise",
    "trend": "past.trend:add_trend",
    "watch": "past.watch:add_watch",
    "nightly": "past.nightly:add_nightly",
    "import-log": "files.import_log:add_import_log",
    "import-report": "files.import_report:add_import_report",
    "import-bench": "files.import_bench:add_import_bench",
    "export": "files.export:add_export",
    "energy": "files.energy:add_energy",
    "hosts": "hosts:add_hosts",
    "wheelhouse": "hosts:add_wheelhouse",
    "engine-info": "engine_info:add_engine_info",
    "kernels": "kernels:add_kernels",
    "models": "models:add_models",
    "thresholds": "thresholds:add_thresholds",
}
_ROOM = "pytest_dllama.cli"

_EXIT_ERROR = 2
_EXIT_INTERRUPTED = 130
_EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    prepare_streams()
    try:
        with signals_taken(break_off_once()):
            return _flushed(_run(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:
        _silence()
        return _EXIT_BROKEN_PIPE
    except ToldError as error:
        say_error(str(error))
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is None:
            _silence()  # what it still holds would fail again
        what = error.filename or "the output cannot be written"
        say_error(f"{what}: {reason}")
    except KeyboardInterrupt as stop:
        say_error(str(stop) or "stopped")
        return _EXIT_INTERRUPTED
    return _EXIT_ERROR


def _run(argv: Sequence[str]) -> int:
    words, passed_on = split_arguments(argv)
    try:
        arguments = _parser(words[0] if words else None).parse_args(
            words, argparse.Namespace(pytest_args=passed_on)
        )
    except SystemExit:  # --help, --version or a usage error
        sys.stdout.flush()
        raise
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _flushed(code: int) -> int:
    """The exit status once all is written; what cannot be is found here, not at the very end."""
    sys.stdout.flush()
    return code


def _silence() -> None:
    """Let nothing complain when standard output is closed."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _parser(named: str | None) -> argparse.ArgumentParser:
    """The command line, with the named command only if there is one of that name."""
    parser = Parser(
        prog="pytest-dllama",
        description="Measure distributed LLM inference, and work with the run files that "
        "measuring writes.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-dllama {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for where in [COMMANDS[named]] if named in COMMANDS else COMMANDS.values():
        module, _, declare = where.partition(":")
        getattr(import_module(f"{_ROOM}.{module}"), declare)(commands)
    return parser
