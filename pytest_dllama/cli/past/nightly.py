"""`pytest-dllama nightly [OPTION ...]`: measure, calibrate once, watch; what a nightly job calls.

Ends with 1 on REGRESSED only: a machine that is busy or a cell that fails is told, and nobody is
woken for it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_dllama.cli.past.accepting import decide_on
from pytest_dllama.cli.past.again import Measuring, own_parser
from pytest_dllama.cli.past.calibrate import calibrate
from pytest_dllama.cli.past.trend import write_nightly
from pytest_dllama.cli.past.watch import EXIT_REGRESSED, bisection, watch
from pytest_dllama.cli.past.watch import NAME as WATCH
from pytest_dllama.config.baseline import parse_calibration, parse_looks
from pytest_dllama.config.values import ConfigError
from pytest_dllama.files.report_folder import STEP_SUMMARY
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.accepted import latest, objections
from pytest_dllama.history.nights import Night
from pytest_dllama.history.noise.calibrations import calibrations
from pytest_dllama.history.run_files import VERDICT_FILE, read_run
from pytest_dllama.history.store import HistoryError, RunStore, StoredRun
from pytest_dllama.history.verdict_files import read_verdict
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.text.markdown import escape
from pytest_dllama.report.text.numbers import percent

NAME = "nightly"
PAGE = "night.md"
NIGHTLY_PAIRS = 10


def add_nightly(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `nightly`."""
    parser = commands.add_parser(
        NAME,
        help="a night's work: measure, calibrate once, watch, judge",
        description="Run the suites, keep the run, take A/A pairs if this cluster was never "
        f"calibrated (--calibrate N pairs, {NIGHTLY_PAIRS} by default, 0: never), watch every "
        "series, and take pairs against the accepted version if one stepped up. The first night "
        "that is sound is accepted, with --as SPEC as `pytest-dllama baseline accept` has it. "
        f"OPTIONs are those of the suites. Writes {PAGE}, night.json and the trend of the last "
        "nights beside the report. Exit codes: 0; 1 REGRESSED, and nothing else; 2 "
        "nothing could be measured.",
        usage="pytest-dllama nightly [--history DIR] [--report DIR] [--calibrate N] "
        "[--pairs N,N,..] [--as SPEC] [OPTION ...]",
        epilog="example: pytest-dllama nightly --nodes 2,4 --models tiny --hosts pis.toml",
    )
    parser.set_defaults(command=_nightly)


def _nightly(arguments: argparse.Namespace) -> int:
    parser = own_parser(NAME)
    parser.add_argument("--pairs")
    parser.add_argument("--calibrate", default=str(NIGHTLY_PAIRS))
    parser.add_argument("--as", dest="spec")
    own, options = parser.parse_known_args(arguments.pytest_args)
    pairs_to_calibrate = _checked(own)
    measuring = Measuring(tuple(options), own.history.absolute())
    status, path = measuring.suites(own.report)
    run = read_run(path)
    told = [f"the suites ended with {status}: see the report"] if status else []
    store = RunStore(measuring.history, run.fingerprint)
    if run.request.inject:
        told.append(f"slowed down on purpose (--inject {run.request.inject}): not kept as a night")
    elif pairs_to_calibrate and not calibrations(store).entries():
        told += _calibrated(measuring, pairs_to_calibrate, own.report)
    told += _accepted_first(store, run, own.spec)
    night = watch(run, measuring, own.pairs, own.report)
    told += _trend(store, own.report)
    guilty = _guilty(store, run, night, own.report, options)
    _publish(own.report, list(_page(run, night, told, guilty)))
    return EXIT_REGRESSED if night.status == "REGRESSED" else 0


def _checked(own: argparse.Namespace) -> int:
    """The number of pairs to calibrate with; what cannot be is told before the night begins."""
    try:
        if own.pairs is not None:
            parse_looks(own.pairs)
        return parse_calibration(own.calibrate)
    except ConfigError as error:
        raise HistoryError(str(error)) from None


def _calibrated(measuring: Measuring, pairs: int, report: Path) -> list[str]:
    """A calibration that fails costs tonight's prior, not the night."""
    try:
        calibrate(measuring, pairs, report)
    except HistoryError as error:
        return [f"not calibrated: {error}"]
    return [f"this cluster was calibrated with {pairs} A/A pairs a cell"]


def _trend(store: RunStore, report: Path) -> list[str]:
    """Write the page of trends; one that fails costs itself, not the night."""
    try:
        for path in write_nightly(store, report):
            print(f"trend:    {path}")
    except Exception as error:
        return [f"no page of trends: {type(error).__name__}: {error}"]
    return []


def _accepted_first(store: RunStore, run: RunRecord, spec: str | None) -> list[str]:
    """The first sound night is what later ones are compared with, until somebody decides."""
    if latest(store, "accepted", run.request.engine) is not None:
        return []
    wrong = objections(run)
    if wrong:
        return [f"nothing is accepted yet, and tonight cannot be: {'; '.join(wrong)}"]
    found = StoredRun(store.add(run), run)
    decide_on(store, found, "accepted", spec, "the first night")
    decide_on(store, found, "anchor", spec, "the first night")
    return ["nothing was accepted yet: tonight's run is now, and it is the anchor"]


def _guilty(
    store: RunStore, run: RunRecord, night: Night, report: Path, options: Sequence[str]
) -> list[str]:
    """How the commit of a regression is found."""
    accepted = latest(store, "accepted", run.request.engine)
    if night.status != "REGRESSED" or accepted is None:
        return []
    found = read_verdict(report / WATCH / VERDICT_FILE)
    return bisection(accepted, run, [*found.bisecting_tolerance.split(), *options])


def _page(
    run: RunRecord, night: Night, told: Sequence[str], guilty: Sequence[str]
) -> Iterator[str]:
    """The night in Markdown: the answer first."""
    revision = run.revision
    at = f", {revision.commit[:10]} {escape(revision.subject)}" if revision else ""
    yield f"## Nightly: {_answer(night)}"
    yield ""
    yield f"{run.created_utc}, {escape(run.fingerprint or 'unknown cluster')}{at}"
    yield ""
    if night.alarms:
        yield "| cell | metric | stepped by | for nights | verdict of pairs |"
        yield "| --- | --- | ---: | ---: | --- |"
        for alarm in night.alarms:
            yield (
                f"| {escape(alarm.cell)} | {escape(alarm.metric)} | {percent(alarm.step * 100)} "
                f"| {alarm.nights_since} | {alarm.judged or 'not judged'} |"
            )
        yield ""
    if night.baseline:
        yield f"Pairs of `{night.baseline}` against now."
    if night.why_not_judged:
        yield f"Not judged: {escape(night.why_not_judged)}"
    yield from (f"- {escape(text)}" for text in told)
    if guilty:
        yield from ("", guilty[0], "")
        yield from (f"    {command}" for command in guilty[1:])


def _answer(night: Night) -> str:
    if not night.alarms:
        return "quiet"
    if night.status is None:
        return "a series stepped up, and nothing judged it"
    return night.status


def _publish(report: Path, lines: Sequence[str]) -> None:
    text = "\n".join(lines) + "\n"
    print(f"night:    {write_whole(report / PAGE, text)}")
    summary = os.environ.get(STEP_SUMMARY)
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
