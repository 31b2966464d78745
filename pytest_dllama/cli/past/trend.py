"""`pytest-dllama trend`: every series of a cluster as a page, or as Markdown for a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.cli.past.where import (
    add_filters,
    add_where,
    check_filters,
    filtered,
    store_of,
    wanted_metrics,
)
from pytest_dllama.history.store import RunStore
from pytest_dllama.history.trend import Trend, trends
from pytest_dllama.lab.builds.commits import commits_between
from pytest_dllama.report.figures.nights import nights_of
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.trend import Trends, render_markdown, write_trend

NIGHTS = 60


def add_trend(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `trend`."""
    parser = commands.add_parser(
        "trend",
        help="show every series of the nights: charts, alarms, decisions, commits",
        description="Show every metric of every cell over the watched nights (over all runs where "
        "nothing was watched), what changed most first, and the commits, alarms and decisions "
        "between them. Without -o as Markdown on the standard output; with -o as trend.LANG.html "
        "and trend.LANG.md in DIR. Commits between two nights are named where the current folder "
        "is a checkout that has them.",
        epilog="examples: pytest-dllama trend --metric tpot_ms; pytest-dllama trend -o report",
    )
    add_where(parser)
    add_filters(parser)
    parser.add_argument(
        "-n", type=int, default=NIGHTS, metavar="N",
        help=f"so many nights, the last ones; 0: all (default: {NIGHTS})",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="folder to write into")
    parser.add_argument(
        "--lang", action="append", choices=LANGUAGES,
        help="language (default: en on the standard output, all into DIR)",
    )  # fmt: skip
    parser.set_defaults(command=_trend)


def _trend(arguments: argparse.Namespace) -> int:
    store = store_of(arguments)
    check_filters(arguments, (kept.run for kept in store.runs()))
    metrics = wanted_metrics(arguments)
    found = trends(
        store, tuple(metrics) if metrics else None, max(arguments.n, 0),
        lambda run: filtered(run, arguments),
    )  # fmt: skip
    page = page_of(store, found)
    if arguments.output is None:
        for language in arguments.lang or ("en",):
            sys.stdout.write(render_markdown(page, language))
        return 0
    for path in write_trend(page, arguments.output, arguments.lang or LANGUAGES):
        print(path)
    return 0


def write_nightly(store: RunStore, report: Path) -> list[Path]:
    """The page of the last nights beside a night's report."""
    return write_trend(page_of(store, trends(store, most=NIGHTS)), report)


def page_of(store: RunStore, found: Sequence[Trend]) -> Trends:
    """The series with the commits that the current folder's checkout knows between nights."""
    between = {
        night.run: commits_between(Path(), night.before.commit, night.revision.commit)
        for night in nights_of(found)
        if night.is_other_commit and night.before is not None and night.revision is not None
    }
    return Trends(store.fingerprint, found, between)
