"""The `pytest-dllama` command: what is done with a run file once it is measured."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from pytest_dllama import __version__
from pytest_dllama.cli.bench import SuitesMissing, add_bench, split_arguments
from pytest_dllama.cli.duet import add_duet
from pytest_dllama.cli.engine_info import add_engine_info
from pytest_dllama.cli.files.export import add_export
from pytest_dllama.cli.files.import_bench import add_import_bench
from pytest_dllama.cli.files.import_log import add_import_log
from pytest_dllama.cli.files.import_report import add_import_report
from pytest_dllama.cli.hosts import add_hosts
from pytest_dllama.cli.kernels import add_kernels
from pytest_dllama.cli.models import add_models
from pytest_dllama.cli.past.baseline import add_baseline
from pytest_dllama.cli.past.calibrate import add_calibrate
from pytest_dllama.cli.past.compare import add_compare
from pytest_dllama.cli.past.history import add_history_command
from pytest_dllama.cli.past.nightly import add_nightly
from pytest_dllama.cli.past.noise import add_noise
from pytest_dllama.cli.past.trend import add_trend
from pytest_dllama.cli.past.watch import add_watch
from pytest_dllama.cli.report import add_report
from pytest_dllama.cli.thresholds import add_thresholds
from pytest_dllama.exports.base import ExportError
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.history.run_files import RunFileError
from pytest_dllama.history.store import HistoryError
from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import InventoryError
from pytest_dllama.report.pages.language import ReportError
from pytest_dllama.verdict.limits import ThresholdError

_EXIT_ERROR = 2
_EXIT_INTERRUPTED = 130
_EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        return _flushed(_run(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:
        _silence()
        return _EXIT_BROKEN_PIPE
    except (
        ReportError,
        ExportError,
        RunFileError,
        HistoryError,
        ImportLogError,
        HostError,
        InventoryError,
        ThresholdError,
        SuitesMissing,
    ) as error:
        print(f"pytest-dllama: {error}", file=sys.stderr)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is None:
            _silence()  # what it still holds would fail again
        what = error.filename or "the output cannot be written"
        print(f"pytest-dllama: {what}: {reason}", file=sys.stderr)
    except KeyboardInterrupt:
        print("pytest-dllama: stopped", file=sys.stderr)
        return _EXIT_INTERRUPTED
    return _EXIT_ERROR


def _run(argv: Sequence[str]) -> int:
    words, passed_on = split_arguments(argv)
    try:
        arguments = _parser().parse_args(words, argparse.Namespace(pytest_args=passed_on))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-dllama",
        description="Measure distributed LLM inference, and work with the run files that "
        "measuring writes.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-dllama {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_bench(commands)
    add_report(commands)
    add_duet(commands)
    add_history_command(commands)
    add_compare(commands)
    add_baseline(commands)
    add_calibrate(commands)
    add_noise(commands)
    add_trend(commands)
    add_watch(commands)
    add_nightly(commands)
    add_import_log(commands)
    add_import_report(commands)
    add_import_bench(commands)
    add_export(commands)
    add_hosts(commands)
    add_engine_info(commands)
    add_kernels(commands)
    add_models(commands)
    add_thresholds(commands)
    return parser
