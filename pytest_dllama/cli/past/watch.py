"""`pytest-dllama watch RUN.json [OPTION ...]`: tonight's run joins the series; alarms are judged.

An alarm never speaks for itself: pairs of the last accepted version against now are taken at once,
and it is their verdict that is told.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.cli.past.again import Measuring, own_parser
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.accepted import Acceptance, accepted_runs, latest
from pytest_dllama.history.nights import Night, SeriesAlarm, nights_of, runs_of_nights, watched
from pytest_dllama.history.run_files import VERDICT_FILE, read_run
from pytest_dllama.history.series import Point, SeriesKey, series_of
from pytest_dllama.history.store import HistoryError, RunStore, StoredRun, name_of
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import CellVerdict, MetricVerdict, PairStatus, VerdictFile, worst
from pytest_dllama.report.terminal.verdict import effect
from pytest_dllama.stats.looks import DECLARED
from pytest_dllama.verdict.past.alarm import WATCHED, known_of, recorded, replay

NAME = "watch"
NIGHT_FILE = "night.json"
EXIT_REGRESSED, EXIT_NO_VERDICT = 1, 3
INJECT_FLAGS = ("--inject", "--dllama-inject")
AS_STORED = "accepted"  # the SPEC that compares with the accepted run's figures


@dataclass(frozen=True, slots=True)
class Tonight:
    """What the series say before anything is judged."""

    store: RunStore
    found: StoredRun
    series: dict[SeriesKey, tuple[Point, ...]]  # that have a value tonight
    alarms: tuple[SeriesAlarm, ...]


def add_watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `watch`; the words behind the run go to the comparison."""
    parser = commands.add_parser(
        NAME,
        help="add tonight's run to its series, and judge what stepped up",
        description="Add a run to the history as one night, look whether the level of any series "
        f"({', '.join(WATCHED)} of each cell) stepped up, and if so take pairs of the accepted "
        "version against now. OPTIONs are those that the run was measured with: the pairs get "
        "them. A run that was slowed down on purpose (--inject) is judged like any other night, "
        "and not kept as one. Exit codes: 0 quiet, or the pairs found nothing worse, or nothing "
        "could judge the alarm; 1 REGRESSED; 2 usage; 3 the pairs gave no verdict.",
        usage="pytest-dllama watch RUN.json [--history DIR] [--report DIR] [--pairs N,N,..] "
        "[OPTION ...]",
        epilog="example: pytest-dllama watch report/run.json --nodes 2,4 --models tiny",
    )
    parser.set_defaults(command=_watch)


def _watch(arguments: argparse.Namespace) -> int:
    parser = own_parser(NAME)
    parser.add_argument("--pairs")
    own, options = parser.parse_known_args(arguments.pytest_args)
    if not options or options[0].startswith("-"):
        raise HistoryError("watch: the run file is missing: pytest-dllama watch RUN.json")
    run = read_run(Path(options[0]))
    night = watch(run, Measuring(tuple(options[1:]), own.history), own.pairs, own.report)
    return exit_code(night.status)


def exit_code(status: PairStatus | None) -> int:
    """Of the worst verdict of a night's alarms."""
    if status == "REGRESSED":
        return EXIT_REGRESSED
    return EXIT_NO_VERDICT if status in ("ERROR", "INVALID") else 0


def watch(run: RunRecord, measuring: Measuring, looks: str | None, report: Path) -> Night:
    """Keep the night, with every alarm judged; it is written to the report's folder too.

    A run that was slowed down on purpose shows whether the watch would call somebody: it is looked
    at as tonight's, with pairs that are slowed down alike, and no later night counts it.
    """
    tonight = _tonight(run, measuring.history)
    tell_series(tonight)
    measuring = replace(measuring, options=_as_measured(run, measuring.options))
    night = Night(run=tonight.found.name, created_utc=run.created_utc, alarms=tonight.alarms)
    if tonight.alarms:
        night = _judged(tonight, night, measuring, looks, report)
    if not run.request.inject:
        nights_of(tonight.store).add(night)
    write_whole(report / NIGHT_FILE, night.model_dump_json(indent=1) + "\n")
    return night


def _as_measured(run: RunRecord, options: tuple[str, ...]) -> tuple[str, ...]:
    """The options of the pairs: with how the run was slowed down, where they do not say it."""
    inject = run.request.inject
    is_told = any(word.partition("=")[0] in INJECT_FLAGS for word in options)
    return options if not inject or is_told else (*options, "--inject", inject)


def _tonight(run: RunRecord, history: Path) -> Tonight:
    store = RunStore(history, run.fingerprint)
    found = StoredRun(name_of(run) if run.request.inject else store.add(run), run)
    nights = [night for night in watched(store) if night.run != found.name]
    by_run = {night.run: night for night in nights}
    every = series_of([*runs_of_nights(store, nights), found], WATCHED)
    series = {key: points for key, points in every.items() if points[-1].run == found.name}
    accepted = accepted_runs(store)
    alarms = []
    for key, points in series.items():
        replayed = replay(key, points, by_run, accepted, known_of(every, key))
        if replayed.alarm is not None:
            alarms.append(recorded(key, replayed.alarm))
    return Tonight(store, found, series, tuple(alarms))


def tell_series(tonight: Tonight) -> None:
    """What came in, and what stepped up."""
    nights = max(map(len, tonight.series.values()), default=0)
    print(
        f"watch: night {nights} of {tonight.store.fingerprint}: {len(tonight.series)} series, "
        f"{counted(len(tonight.alarms), 'alarm')}"
    )
    if inject := tonight.found.run.request.inject:
        print(
            f"watch: this run was slowed down on purpose (--inject {inject}): it is judged as "
            "tonight's, and not kept"
        )
    have = {key.cell for key in tonight.series}
    for cell in tonight.found.run.cells:
        if cell.id not in have:
            status = cell.verdict.status if cell.verdict else cell.status
            print(f"watch: {cell.id} has no value tonight: {status}")
    for alarm in tonight.alarms:
        since = tonight.series[alarm.key][-alarm.nights_since]
        print(
            f"ALARM {alarm.cell} {alarm.metric}: {alarm.step:+.1%} since {since.created_utc[:10]} "
            f"({counted(alarm.nights_since, 'night')}"
            f"{_commit(since)}), score {alarm.score:.1f} above {alarm.limit:.1f}"
        )


def _commit(point: Point) -> str:
    return f", first at {point.revision.commit[:10]}" if point.revision else ""


def _judged(
    tonight: Tonight, night: Night, measuring: Measuring, looks: str | None, report: Path
) -> Night:
    """The same night with its alarms judged, or why they could not be."""
    accepted = latest(tonight.store, "accepted", tonight.found.run.request.engine)
    if accepted is None:
        why = "no run is accepted: `pytest-dllama baseline accept RUN` names one that was good"
        return _unjudged(night, why)
    baseline = accepted.baseline or AS_STORED
    _tell_baseline(accepted)
    try:
        plan = looks or ",".join(map(str, DECLARED))
        found = measuring.pairs(baseline, plan, report / NAME)
    except HistoryError as error:
        return _unjudged(night, str(error))
    except KeyboardInterrupt:
        _tell_stopped(tonight, measuring)
        raise
    alarms = tuple(
        alarm.model_copy(update={"judged": _status(found, alarm)}) for alarm in night.alarms
    )
    judged = [alarm.judged for alarm in alarms if alarm.judged is not None]
    status = worst(judged) if judged else None
    is_trial = bool(tonight.found.run.request.inject)
    _tell_verdict(found, alarms, report / NAME / VERDICT_FILE, is_trial=is_trial)
    if status == "REGRESSED":
        options = (*found.bisecting_tolerance.split(), *measuring.options)
        for line in bisection(accepted, tonight.found.run, options):
            print(line)
    return night.model_copy(update={"alarms": alarms, "status": status, "baseline": baseline})


def _tell_baseline(accepted: Acceptance) -> None:
    day = accepted.decided_utc[:10]
    if accepted.baseline is not None:
        print(f"watch: pairs of {accepted.baseline} (accepted {day}) against now")
        return
    print(
        f"watch: nothing tells how the version accepted on {day} runs again, so now is compared "
        "with the stored run, unpaired, which is weaker; `pytest-dllama baseline accept --as SPEC` "
        "says how"
    )


def _tell_stopped(tonight: Tonight, measuring: Measuring) -> None:
    """What is left to do of a night that was broken off among its pairs."""
    if tonight.found.run.request.inject:
        return
    file, history = tonight.store.path(tonight.found.name), str(measuring.history)
    words = shlex.join([str(file), "--history", history, *measuring.options])
    print(
        "watch: stopped before its alarms were judged: the run is kept, tonight is not yet a night "
        f"of the watch; to go on:\n  pytest-dllama watch {words}",
        file=sys.stderr,
    )


def _unjudged(night: Night, why: str) -> Night:
    print(f"pytest-dllama: the alarms are not judged: {why}", file=sys.stderr)
    return night.model_copy(update={"why_not_judged": why})


def _status(found: VerdictFile, alarm: SeriesAlarm) -> PairStatus | None:
    """The verdict on the alarm's metric; of its cell where that has none."""
    cell = next((cell for cell in found.cells if cell.id == alarm.cell), None)
    if cell is None:
        return None
    verdict = _metric(cell, alarm.metric)
    is_broken = cell.status in ("ERROR", "INVALID")
    return verdict.status if verdict is not None and not is_broken else cell.status


def _metric(cell: CellVerdict, metric: str) -> MetricVerdict | None:
    return next((verdict for verdict in cell.metrics if verdict.metric == metric), None)


def _tell_verdict(
    found: VerdictFile, alarms: Sequence[SeriesAlarm], path: Path, *, is_trial: bool
) -> None:
    cells = {cell.id: cell for cell in found.cells}
    for alarm in alarms:
        cell = cells.get(alarm.cell)
        verdict = _metric(cell, alarm.metric) if cell else None
        what = effect(verdict) if verdict else "not compared"
        print(f"{alarm.judged or 'NOT JUDGED'} {alarm.cell} {alarm.metric}: {what}")
        if alarm.judged in ("PASS", "IMPROVED") and not is_trial:
            print(
                "  the code is not slower than what was accepted: the machine changed, or it was "
                "noise; this level is taken as the new one"
            )
    print(f"verdict:  {path}")


def bisection(accepted: Acceptance, run: RunRecord, options: Sequence[str]) -> list[str]:
    """The commands that find the guilty commit, where two commits of this checkout are the ends.

    Lines with what they are; none where nothing lies between two commits.
    """
    kind, _, good = (accepted.baseline or "").partition(":")
    if run.revision is None or kind != "git" or "@" in good or run.request.inject:
        return []
    if run.revision.commit.startswith(good):
        return ["both are one commit: what differs is not committed, or how it was built"]
    words = shlex.join(["--bisect", "--baseline", f"git:{good}", *options])
    return [
        "the commit that did it is found by",
        f"  git bisect start {run.revision.commit[:12]} {good[:12]}",
        f"  git bisect run pytest-dllama bench {words}",
    ]
