"""Measuring from within a command: the suites, or pairs against a baseline, as processes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.cli.bench import suites_arguments
from pytest_dllama.cli.child import run_child
from pytest_dllama.cli.past.where import history_folder, usual_folder
from pytest_dllama.history.run_files import RUN_FILE, VERDICT_FILE
from pytest_dllama.history.store import HistoryError
from pytest_dllama.history.verdict_files import read_verdict
from pytest_dllama.record.verdict import VerdictFile


def own_parser(name: str) -> argparse.ArgumentParser:
    """What a command of this name reads itself; its other words go to the suites that it runs."""
    parser = argparse.ArgumentParser(
        prog=f"pytest-dllama {name}", add_help=False, allow_abbrev=False
    )
    parser.add_argument("--history", type=history_folder, default=usual_folder())
    parser.add_argument("--report", type=Path, default=Path("report"))
    return parser


@dataclass(frozen=True, slots=True)
class Measuring:
    """How everything of one command is measured.

    Args:
        options: of the suites: nodes, models, hosts and so on.
        history: folder of all histories.
    """

    options: tuple[str, ...]
    history: Path

    def suites(self, report: Path) -> tuple[int, Path]:
        """Run the suites; pytest's exit status, and the run file.

        Raises:
            HistoryError: no run file came of it.
        """
        before = _stamp(report / RUN_FILE)
        status = self._run([*suites_arguments(), "-q", *self._options(report)])
        if _stamp(report / RUN_FILE) == before:
            raise HistoryError(f"the suites ended with {status} and wrote no {report / RUN_FILE}")
        return status, report / RUN_FILE

    def pairs(self, baseline: str, looks: str, report: Path) -> VerdictFile:
        """Take pairs of a baseline against now.

        Raises:
            HistoryError: they could not begin, or left no verdict.
        """
        words = ["--baseline", baseline, "--pairs", looks]
        return self._compared(words, report, f"the pairs against {baseline}")

    def calibration(self, pairs: int, report: Path) -> VerdictFile:
        """Take A/A pairs; the run keeps and prints what they teach.

        Raises:
            HistoryError: they could not begin, or left no verdict.
        """
        return self._compared(["--calibrate", str(pairs)], report, "the A/A pairs")

    def _compared(self, words: Sequence[str], report: Path, what: str) -> VerdictFile:
        path = report / VERDICT_FILE
        before = _stamp(path)
        status = self._run([*suites_arguments(), "-q", *words, *self._options(report)])
        if _stamp(path) == before:
            raise HistoryError(
                f"{what} ended with {status} and left no verdict; their words stand above"
            )
        return read_verdict(path)

    def _options(self, report: Path) -> list[str]:
        return [*self.options, "--report", str(report), "--history", str(self.history)]

    def _run(self, words: Sequence[str]) -> int:
        """Pytest as a process of its own, its words on our terminal.

        Raises:
            KeyboardInterrupt: it was stopped, or we were; it has ended in order.
        """
        ended = run_child([sys.executable, "-P", "-m", "pytest", *words])
        if ended.was_stopped:
            raise KeyboardInterrupt
        return ended.status


def _stamp(path: Path) -> tuple[int, int] | None:
    """Which file it is: another one after each writing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
