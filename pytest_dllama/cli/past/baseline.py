"""`pytest-dllama baseline`: which run is how it should be, and the anchor of creep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.cli.past.tables import Table
from pytest_dllama.cli.past.where import add_where, store_of
from pytest_dllama.config.baseline import parse_baseline
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.accepted import Acceptance, Kind, acceptances, latest, objections, stored
from pytest_dllama.history.nights import runs_of_nights, watched
from pytest_dllama.history.priors import NoisePriors
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.series import series_of, work_digest
from pytest_dllama.history.store import HistoryError, RunStore, StoredRun
from pytest_dllama.lab.pairs.builds import own_checkout
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.text.numbers import decimals_for, percent, plain
from pytest_dllama.stats.decision import Decision
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.stats.unpaired import NightNoise
from pytest_dllama.verdict.past.alarm import WATCHED, level_noise, replay
from pytest_dllama.verdict.past.creep import Creep, creep

EXIT_CREEP = 1


def add_baseline(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `baseline accept|show|anchor`."""
    parser = commands.add_parser(
        "baseline",
        help="accept a run as what later ones are compared with",
        description="`accept` makes a run the one that `--baseline accepted` and the nightly "
        "watch compare with, after a look at how far it is from the anchor. `anchor` sets that: "
        "the last release, say. `show` tells both. Exit codes: 0; 1 the run crept beyond what is "
        "tolerated; 2 the run cannot be accepted.",
    )
    what = parser.add_subparsers(title="what", metavar="WHAT", required=True)
    for kind, text in (("accept", "accept a run"), ("anchor", "measure creep from a run")):
        one = what.add_parser(kind, help=text)
        one.add_argument(
            "run", nargs="?", default="last", metavar="RUN",
            help="a run file, a run's name in the history, or last (the default)",
        )  # fmt: skip
        add_where(one)
        one.add_argument(
            "--as", dest="spec", metavar="SPEC",
            help="how --baseline runs this version again (default: git:COMMIT of the run, for the "
            "embedded engine in a checkout)",
        )  # fmt: skip
        one.add_argument("--note", default="", help="why, for those who read it later")
        if kind == "accept":
            one.add_argument(
                "--despite-creep", action="store_true",
                help="accept a run that is surely worse than the anchor by more than is tolerated",
            )  # fmt: skip
        one.set_defaults(command=_accept if kind == "accept" else _anchor)
    show = what.add_parser("show", help="what is accepted, and the anchor")
    add_where(show)
    show.set_defaults(command=_show)


def _accept(arguments: argparse.Namespace) -> int:
    store, found = _taken(arguments)
    anchor = stored(store, "anchor", found.run.request.engine)
    crept: list[Creep] = []
    if anchor is not None and anchor.name != found.name:
        crept = creep(anchor.run, found.run, _night_noise(store, found.run), _priors(store))
        _tell_creep(anchor, crept)
    worse = [item for item in crept if item.decision is Decision.REGRESSED]
    if worse and not arguments.despite_creep:
        names = ", ".join(f"{item.cell} {item.metric}" for item in worse)
        print(
            f"pytest-dllama: not accepted: {names} crept beyond what is tolerated since the "
            f"anchor {anchor.name if anchor else '-'}; accept with --despite-creep, or move the "
            "anchor by `pytest-dllama baseline anchor RUN`",
            file=sys.stderr,
        )
        return EXIT_CREEP
    _decide(store, found, "accepted", arguments)
    if anchor is None:
        _decide(store, found, "anchor", arguments)
        print("it is the anchor too, since there was none")
    return 0


def _anchor(arguments: argparse.Namespace) -> int:
    store, found = _taken(arguments)
    _decide(store, found, "anchor", arguments)
    return 0


def _taken(arguments: argparse.Namespace) -> tuple[RunStore, StoredRun]:
    """The run, in the history of its own cluster.

    Raises:
        HistoryError: no such run, or one that is no reference for anything.
    """
    path = Path(arguments.run)
    if path.suffix == ".json" or path.is_file():
        run = read_run(path)
        store = RunStore(arguments.history, run.fingerprint)
        found = StoredRun("", run)
    else:
        store = store_of(arguments)
        found = store.find(arguments.run)
    wrong = objections(found.run)
    if wrong:
        raise HistoryError(
            f"{arguments.run} cannot be accepted: {'; '.join(wrong)}; measure again, or leave the "
            "cell out by -k"
        )
    return store, StoredRun(found.name or store.add(found.run), found.run)


def _decide(store: RunStore, found: StoredRun, kind: Kind, arguments: argparse.Namespace) -> None:
    spec = _spec(found.run, arguments.spec)
    acceptances(store).add(
        Acceptance(
            kind=kind,
            run=found.name,
            engine=found.run.request.engine,
            decided_utc=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            baseline=spec,
            note=arguments.note,
        )
    )
    print(f"{kind}: {found.name} of {store.fingerprint}, again by {spec or '-'}")
    if spec is None:
        print(
            "nothing tells how to run this version again, so it can only be compared with as "
            "stored, unpaired; --as SPEC says how"
        )
    revision = found.run.revision
    if revision and revision.is_dirty and arguments.spec is None and spec:
        print(
            f"warning: the run was measured with changes that {revision.commit[:10]} does not "
            "have; pairs against it will lack them"
        )


def _spec(run: RunRecord, given: str | None) -> str | None:
    """How `--baseline` runs the version of this run again; None: it cannot.

    Raises:
        HistoryError: a SPEC that is none, or one that means this run or the engine of the day.
    """
    if given is None:
        has_checkout = run.request.engine == "embedded" and own_checkout() is not None
        return f"git:{run.revision.commit}" if run.revision and has_checkout else None
    try:
        kind = parse_baseline(given).kind
    except ConfigError as error:
        raise HistoryError(str(error).replace("--baseline", "--as", 1)) from None
    if kind not in ("git", "dllama"):
        raise HistoryError(
            f"--as {given}: it must name a version that stays: git:REV, git:PATH@REV, "
            "dllama:PATH or dllama:CHECKOUT@REV"
        )
    return given


def _night_noise(store: RunStore, run: RunRecord) -> Mapping[tuple[str, str], NightNoise]:
    """Of every watched series of this run's work, where enough nights are known."""
    nights = watched(store)
    by_run = {night.run: night for night in nights}
    accepted = {entry.run for entry in acceptances(store).entries() if entry.kind == "accepted"}
    found = {}
    for key, points in series_of(runs_of_nights(store, nights), WATCHED).items():
        works = {work_digest(run, cell.model) for cell in run.cells if cell.id == key.cell}
        noise = level_noise(replay(key, points, by_run, accepted))
        if key.work in works and noise is not None:
            found[key.cell, key.metric] = noise
    return found


def _priors(store: RunStore) -> dict[str, VariancePrior | None]:
    priors = NoisePriors(store.cluster.parent, store.cluster.name)
    return {metric: priors.prior(metric) for metric in WATCHED}


def _tell_creep(anchor: StoredRun, crept: Sequence[Creep]) -> None:
    print(f"against the anchor {anchor.name} ({anchor.run.created_utc}), unpaired:")
    rows = [
        [
            item.cell,
            item.metric,
            plain(item.anchor, decimals_for(item.anchor, 2)),
            plain(item.new, decimals_for(item.new, 2)),
            percent(item.change * 100),
            _bounds(item),
            percent(item.tolerance * 100),
            _word(item),
        ]
        for item in crept
    ]
    head = ["cell", "metric", "anchor", "now", "since then", "bounds", "tolerated", ""]
    print(Table(head, rows, [], left=2).render("text"))


def _bounds(item: Creep) -> str:
    if item.lower is None or item.upper is None:
        return "unknown: under 10 nights"
    return f"{percent(item.lower * 100)}..{percent(item.upper * 100)}"


def _word(item: Creep) -> str:
    if item.decision is Decision.REGRESSED:
        return "CREPT"
    if item.is_seen:
        return "beyond, unproven"
    return ""


def _show(arguments: argparse.Namespace) -> int:
    store = store_of(arguments)
    entries = acceptances(store).entries()
    if not entries:
        print(
            f"nothing is accepted for {store.fingerprint}; `pytest-dllama baseline accept` "
            "accepts the last run"
        )
        return 0
    for engine in dict.fromkeys(entry.engine for entry in entries):
        for kind in ("accepted", "anchor"):
            print(_shown(store, kind, engine))
    earlier = [entry for entry in entries if entry.kind == "accepted"]
    rows = [
        [entry.decided_utc, entry.run, entry.engine, entry.baseline or "-", entry.note]
        for entry in earlier
    ]
    print(Table(["accepted at", "run", "engine", "again by", "note"], rows, [], 5).render("text"))
    return 0


def _shown(store: RunStore, kind: Kind, engine: str) -> str:
    entry = latest(store, kind, engine)
    if entry is None:
        return f"{kind} ({engine}): none"
    is_there = "" if entry.run in store.names() else ", its file is gone"
    return f"{kind} ({engine}): {entry.run}, again by {entry.baseline or '-'}{is_there}"
