"""`pytest-dllama bench`: the packaged suites, without a checkout; the measuring is pytest's."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest_dllama
from pytest_dllama.cli.child import run_child
from pytest_dllama.cli.streams import say_error
from pytest_dllama.config.ini_file import ini_file
from pytest_dllama.config.options import SETTINGS
from pytest_dllama.errors import ToldError
from pytest_dllama.verdict.exit_codes import BISECT_ABORT, BISECT_SKIP, EXIT_WORSE

BISECT_FLAGS = ("--bisect", "--dllama-bisect")
NAME = "bench"
PACKAGE = "pytest_dllama.suites"
PASSING_ON = (NAME, "calibrate", "watch", "nightly")  # whose words are mostly another program's
_HELP = ("-h", "--help")
_LIST = "of the measurement (--dllama-NAME where another plugin or conftest has --NAME):"


class SuitesMissing(ToldError):
    """No suites in this installation; the message says where they were looked for."""


def add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command; its own arguments are pytest's."""
    parser = commands.add_parser(
        NAME,
        help="run the suites that came with the package",
        description="Measure: run the packaged suites with pytest, in this folder, with its ini "
        "file if there is one. Every argument goes to pytest: the options below, and pytest's own "
        "(-k output, -x, -q, --junitxml FILE). Results: report/ in this folder, unless --report "
        "says otherwise. The exit status is pytest's; with --bisect it is 0, 1 or 125, which `git "
        "bisect run` takes as good, bad, cannot be tested.",
        epilog=f"{_LIST}\n{_options()}\n\nexamples: pytest-dllama bench --nodes 2,4 --models tiny\n"
        "  git bisect run pytest-dllama bench --bisect --baseline git:GOOD --nodes 4",
        usage="pytest-dllama bench [OPTION ...]",
        formatter_class=_Paragraphs,
    )
    parser.set_defaults(command=_bench)


class _Paragraphs(argparse.RawDescriptionHelpFormatter):
    """Wraps the description, leaves the list of options as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(_LIST):
            return text
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _options() -> str:
    """Flag, help and default of every option of ours."""
    blocks = []
    for setting in SETTINGS:
        text = f"{setting.help} (default: {setting.default or 'none'})"
        lines = textwrap.wrap(text, 72, initial_indent=" " * 6, subsequent_indent=" " * 6)
        blocks.append("\n".join([f"  {setting.flag} {setting.form}".rstrip(), *lines]))
    return "\n".join(blocks)


def split_arguments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words of a command line, and those that go to pytest as they are.

    >>> split_arguments(["bench", "--nodes", "2", "-k", "rct"])
    (['bench'], ['--nodes', '2', '-k', 'rct'])
    >>> split_arguments(["report", "run.json"])
    (['report', 'run.json'], [])
    """
    if not words or words[0] not in PASSING_ON or any(word in _HELP for word in words[1:]):
        return list(words), []
    return [words[0]], list(words[1:])


def _bench(arguments: argparse.Namespace) -> int:
    """Become pytest: signals, terminal and exit status are its own; but a bisection maps them."""
    # -P: as the command `pytest` does, and unlike `python -m`, leave this folder out of sys.path.
    command = [sys.executable, "-P", "-m", "pytest", *suites_arguments(), *arguments.pytest_args]
    sys.stdout.flush()
    if any(word in arguments.pytest_args for word in BISECT_FLAGS):
        return _bisect_status(command)
    os.execv(sys.executable, command)


def _bisect_status(command: Sequence[str]) -> int:
    """Of `git bisect run`: whatever kept pytest from a verdict makes the revision untestable.

    A revision that does not even collect must not be taken for a bad one.
    """
    try:
        import_module("pytest_dllama.plugin")  # of which older pytests say with a 1 that it fails
    except Exception:
        traceback.print_exc()
        return BISECT_SKIP
    ended = run_child(command)
    if ended.was_stopped:
        say_error(
            "stopped: this revision is neither good nor bad yet; the same `git bisect run` goes on "
            "here, `git bisect reset` gives up"
        )
        return BISECT_ABORT
    return ended.status if ended.status in (0, EXIT_WORSE, BISECT_SKIP) else BISECT_SKIP


def _this_folders_ini(checkout: Path) -> list[str]:
    """What makes pytest read the ini file of this folder, where the suites lie in another one."""
    here = Path.cwd().resolve()
    path = None if here.is_relative_to(checkout) else ini_file(here)
    return ["-c", str(path), "--rootdir", str(path.parent)] if path else []


def suites_arguments() -> list[str]:
    """What makes pytest find the suites: those of the wheel, else those of the checkout.

    By their package's name, where they have one: then this folder's ini file counts.

    Raises:
        SuitesMissing: neither is there.
    """
    if find_spec(PACKAGE) is not None:
        return ["--pyargs", PACKAGE]
    folder = Path(pytest_dllama.__file__).resolve().parents[1] / "suites"
    if (folder / "thresholds.toml").is_file():
        return [str(folder), *_this_folders_ini(folder.parent)]
    raise SuitesMissing(
        f"the suites are neither in the package {PACKAGE} nor in {folder}; reinstall "
        "pytest-dllama, or run from a complete checkout"
    )
