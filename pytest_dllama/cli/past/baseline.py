"""`pytest-dllama baseline`: which run is how it should be, and the anchor of creep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.cli.past.accepting import decide_on, night_noise_of, priors_of
from pytest_dllama.cli.past.where import (
    add_filters,
    add_where,
    check_filters,
    filtered,
    store_of,
    wanted_metrics,
)
from pytest_dllama.history.accepted import (
    Kind,
    acceptances,
    latest,
    objections,
    stored,
)
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.store import HistoryError, RunStore, StoredRun
from pytest_dllama.report.lists.table import Table
from pytest_dllama.report.text.numbers import decimals_for, percent, plain
from pytest_dllama.stats.decision import Decision
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
            add_filters(one, "look for creep in")
        one.set_defaults(command=_accept if kind == "accept" else _anchor)
    show = what.add_parser("show", help="what is accepted, and how far it is from the anchor")
    add_where(show)
    add_filters(show, "show")
    show.set_defaults(command=_show)


def _accept(arguments: argparse.Namespace) -> int:
    store, found = _taken(arguments)
    check_filters(arguments, (found.run,))
    anchor = stored(store, "anchor", found.run.request.engine)
    crept = _crept(store, anchor, found, arguments)
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
    decide_on(store, found, "accepted", arguments.spec, arguments.note)
    if anchor is None:
        decide_on(store, found, "anchor", arguments.spec, arguments.note)
        print("it is the anchor too, since there was none")
    return 0


def _crept(
    store: RunStore, anchor: StoredRun | None, found: StoredRun, arguments: argparse.Namespace
) -> list[Creep]:
    """How far the run is from the anchor, in what the filters let through; it is shown too."""
    if anchor is None or anchor.name == found.name:
        return []
    run, wanted = filtered(found.run, arguments), wanted_metrics(arguments)
    every = creep(anchor.run, run, night_noise_of(store, run), priors_of(store))
    crept = [item for item in every if wanted is None or item.metric in wanted]
    _tell_creep(anchor, crept)
    return crept


def _anchor(arguments: argparse.Namespace) -> int:
    store, found = _taken(arguments)
    decide_on(store, found, "anchor", arguments.spec, arguments.note)
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
            f"{arguments.run} cannot be accepted: {'; '.join(wrong)}; measure again"
            f"{'' if found.run.request.inject else ', or leave the cell out by -k'}"
        )
    return store, StoredRun(found.name or store.add(found.run), found.run)


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
        found, anchor = (stored(store, kind, engine) for kind in ("accepted", "anchor"))
        if found is not None:
            _crept(store, anchor, found, arguments)
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
