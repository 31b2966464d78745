"""`pytest-dllama history`: the runs that are kept, the newest last."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_dllama.cli.past.where import (
    add_filters,
    add_where,
    check_filters,
    store_of,
    wanted_metrics,
    wants,
)
from pytest_dllama.history.accepted import acceptances
from pytest_dllama.history.nights import watched
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.store import RunStore, StoredRun
from pytest_dllama.report.lists.table import FORMATS, Table
from pytest_dllama.report.text.numbers import decimals_for, plain

SHOWN_METRICS = ("tpot_ms", "ttft_s", "tokens_per_s")  # without --metric


def add_history_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `history`."""
    parser = commands.add_parser(
        "history",
        help="list the runs that are kept of a cluster",
        description="List kept runs, the newest last, a line for each cell. `accepted` and "
        "`anchor` mark what `pytest-dllama baseline` decided, `night` a run of the watch.",
        epilog="examples: pytest-dllama history --model tiny --nodes 4 --metric tpot_ms -n 50; "
        "pytest-dllama history --add old/run.json",
    )
    add_where(parser)
    add_filters(parser)
    parser.add_argument(
        "-n", type=int, default=20, metavar="N", help="so many runs; 0: all (default: 20)"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="(default: text)")
    parser.add_argument(
        "--add", type=Path, nargs="+", metavar="RUN.json", default=(),
        help="add run files from elsewhere, each to its own cluster, in place of a list",
    )  # fmt: skip
    parser.set_defaults(command=_history)


def _history(arguments: argparse.Namespace) -> int:
    if arguments.add:
        for path in arguments.add:
            run = read_run(path)
            store = RunStore(arguments.history, run.fingerprint)
            print(store.path(store.add(run)))
        return 0
    store = store_of(arguments)
    names = store.names()[-arguments.n :] if arguments.n > 0 else store.names()
    if not names:
        print(f"no run of {store.fingerprint} in {arguments.history}; `pytest suites/` adds one")
        return 0
    marks = _marks(store)
    kept = list(store.runs())
    check_filters(arguments, (found.run for found in kept))
    readable = [found for found in kept if found.name in set(names)]
    print(_table(readable, marks, arguments).render(arguments.format))
    if arguments.format == "text":
        print(f"{len(names)} of {len(store.names())} runs of {store.fingerprint}")
    for why in store.unreadable():
        print(f"pytest-dllama: passed over: {why}", file=sys.stderr)
    return 0


def _marks(store: RunStore) -> dict[str, list[str]]:
    """What was decided on runs, by name; of accepted runs the newest is the one that counts."""
    found: dict[str, dict[str, None]] = {}
    counting: dict[tuple[str, str], str] = {}
    for entry in acceptances(store).entries():
        counting[entry.kind, entry.engine] = entry.run
        found.setdefault(entry.run, {})[f"was {entry.kind}"] = None
    for (kind, _), run in counting.items():
        found[run].pop(f"was {kind}", None)
        found[run][kind] = None
    for night in watched(store):
        found.setdefault(night.run, {})["night"] = None
        if night.alarms:
            found[night.run]["alarm"] = None
    return {run: list(marks) for run, marks in found.items()}


def _table(
    runs: list[StoredRun], marks: dict[str, list[str]], arguments: argparse.Namespace
) -> Table:
    metrics = list(wanted_metrics(arguments) or SHOWN_METRICS)
    data = [row for found in runs for row in _rows(found, marks, metrics, arguments)]
    head = ["run", "commit", "cell", "verdict", *metrics, "marks"]
    rows = [
        [
            row["run"],
            (row["commit"] or "-")[:10] + ("*" if row["is_dirty"] else ""),
            row["cell"],
            row["verdict"],
            *(_shown(row[name]) for name in metrics),
            " ".join(row["marks"]),
        ]
        for row in data
    ]
    flat = [{**row, "marks": " ".join(row["marks"])} for row in data]
    return Table(head, rows, flat, left=4)


def _rows(
    found: StoredRun, marks: dict[str, list[str]], metrics: list[str], arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    revision = found.run.revision
    for cell in found.run.cells:
        if not wants(arguments, cell):
            continue
        yield {
            "run": found.name,
            "created_utc": found.run.created_utc,
            "commit": revision.commit if revision else None,
            "is_dirty": bool(revision and revision.is_dirty),
            "cell": cell.id,
            "verdict": cell.verdict.status if cell.verdict else cell.status,
            **{n: cell.metrics[n].value if n in cell.metrics else None for n in metrics},
            "marks": [
                *(["slowed"] if found.run.request.inject else []),
                *marks.get(found.name, []),
            ],
        }


def _shown(value: float | None) -> str:
    return "-" if value is None else plain(value, decimals_for(value, 2))
