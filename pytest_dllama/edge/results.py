"""The end of a session: what is written, what is printed, the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_dllama.edge.signals import breaking_off
from pytest_dllama.edge.stash import (
    CONFIG_KEY,
    FOLDER_KEY,
    LAB_KEY,
    OUTCOME_KEY,
    PRINTED_KEY,
    WARNINGS_KEY,
)

if TYPE_CHECKING:
    from pytest_dllama.config.baseline import Comparison
    from pytest_dllama.lab.lab import Lab


def end_by_verdict(session: pytest.Session, comparison: Comparison, lab: Lab | None) -> None:
    """The exit status of a comparison: a regression that no selected test reads fails too."""
    if comparison.is_calibration:
        return  # the noise was asked for, not a verdict
    from pytest_dllama.verdict.exit_codes import exit_code

    found = lab.verdict() if lab else None
    if found and session.exitstatus == pytest.ExitCode.OK:
        if exit_code(found.status, comparison.inconclusive) != 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def write_results_of(session: pytest.Session, lab: Lab) -> tuple[str, ...]:
    """Lines that say where the results are; a failure is the session's."""
    from pytest_dllama.lab.session.results import write_results

    with breaking_off(session.config):
        written = write_results(lab)
    if written.was_stopped:
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    elif written.has_failed:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    folder = session.config.stash[FOLDER_KEY]
    return (*written.lines, *map(folder.told_of, folder.refused()))


def told_if_stopped(config: pytest.Config, exitstatus: int | pytest.ExitCode) -> str | None:
    """What is left of a comparison that was stopped before its verdict; None: it was not."""
    comparison, lab = config.stash[CONFIG_KEY].comparison, config.stash.get(LAB_KEY, None)
    has_begun = FOLDER_KEY in config.stash and not (lab is not None and lab.has_cells)
    if comparison is None or not has_begun or exitstatus != pytest.ExitCode.INTERRUPTED:
        return None
    what = "calibration" if comparison.is_calibration else "verdict"
    return (
        f"stopped before the {what} was whole: nothing of it is kept, finished builds are; the "
        "same command begins anew"
    )


def print_results(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of cells and where the results are, once."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is None or not lab.has_cells or config.stash.get(PRINTED_KEY, False):
        return
    config.stash[PRINTED_KEY] = True
    from pytest_dllama.report.terminal.summary import summary_lines
    from pytest_dllama.report.terminal.verdict import verdict_lines

    found = config.stash[WARNINGS_KEY]
    warnings = [f"warning: {text}" for text in dict.fromkeys(found)]
    terminalreporter.section("distributed LLM inference")
    outcome = config.stash.get(OUTCOME_KEY, ())
    verdict = lab.verdict()
    comparison = config.stash[CONFIG_KEY].comparison
    is_bisecting = comparison is not None and comparison.is_bisect
    compared = ["", *verdict_lines(verdict, is_bisecting=is_bisecting), ""] if verdict else []
    for line in [*summary_lines(lab.run_record()), *warnings, *compared, *outcome]:
        terminalreporter.write_line(line)
