"""`pytest-dllama compare A B`: two stored runs, as benchstat shows two sets of benchmarks."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Sequence

from pytest_dllama.cli.past.where import (
    add_filters,
    add_where,
    check_filters,
    filtered,
    run_of,
    wanted_metrics,
)
from pytest_dllama.history.store import HistoryError
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.report.lists.table import FORMATS, Table
from pytest_dllama.report.text.numbers import decimals_for, percent, plain
from pytest_dllama.verdict.past.comparison import (
    SIGNIFICANT,
    Row,
    Summary,
    compare_runs,
    differing_work,
    left_out,
    without_figures,
)

EXIT_WORSE = 1
ANY = "any"


def add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `compare`."""
    parser = commands.add_parser(
        "compare",
        help="two runs side by side: median, interval, change, p, n",
        description="Compare two runs, each a run file, a run's name in the history (or the "
        "beginning of it) or `last`. Unpaired: whatever moved the machine between the two runs is "
        "in the change. For a verdict use --baseline (docs/verdicts.md). Exit codes: 0; 1 with "
        "--fail-on, if something is worse; 2 usage.",
        epilog="example: pytest-dllama compare 20260401 last --metric tpot_ms --fail-on any:10%",
    )
    parser.add_argument("base", metavar="A", help="the run to compare with")
    parser.add_argument("new", metavar="B", help="the run to compare")
    add_where(parser)
    add_filters(parser)
    parser.add_argument("--format", choices=FORMATS, default="text", help="(default: text)")
    parser.add_argument(
        "--fail-on", metavar="METRIC:P%,..", type=_limits, default={},
        help="exit with 1 where a metric became worse by more than this, significantly (p below "
        f"{SIGNIFICANT:g}), or a sound cell of A is INVALID or failed in B; {ANY}:P%% for every "
        "metric. Exact metrics need no significance",
    )  # fmt: skip
    parser.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    base, new = (run_of(text, arguments) for text in (arguments.base, arguments.new))
    check_filters(arguments, (base.run, new.run))
    first, second = (filtered(found.run, arguments) for found in (base, new))
    differing = differing_work(first, second)
    if differing and arguments.fail_on:
        raise HistoryError(
            f"--fail-on: {base.name} and {new.name} did different work: {'; '.join(differing)}"
        )
    rows = compare_runs(first, second, wanted_metrics(arguments))
    if arguments.fail_on:
        _check_that_it_judges(rows, arguments.fail_on, left_out(first, second))
    print(_table(rows).render(arguments.format))
    for found in (base, new):
        if inject := found.run.request.inject:
            print(
                f"pytest-dllama: {found.name} was slowed down on purpose (--inject {inject})",
                file=sys.stderr,
            )
    for text in differing:
        print(f"pytest-dllama: not the same work: {text}", file=sys.stderr)
    for text in left_out(first, second):
        print(f"pytest-dllama: left out: {text}", file=sys.stderr)
    worse = [row for row in rows if _fails(row, arguments.fail_on)]
    for row in worse:
        print(f"pytest-dllama: worse: {row.cell} {row.metric} {_delta(row)}", file=sys.stderr)
    lost = without_figures(first, second) if arguments.fail_on else []
    for text in lost:
        print(f"pytest-dllama: worse: {text}", file=sys.stderr)
    return EXIT_WORSE if worse or lost else 0


def _check_that_it_judges(
    rows: list[Row], limits: dict[str, float], missing: Sequence[str]
) -> None:
    """Refuse a limit that nothing can miss, for its answer would always be 0."""
    exact = {row.metric for row in rows if METRICS[row.metric].better == "exact"}
    told = {row.metric for row in rows if row.p is not None}
    for name in limits:
        if name in told | exact or (name == ANY and (told or (rows and len(exact) == len(rows)))):
            continue
        if any(name in (row.metric, ANY) for row in rows):
            raise HistoryError(
                f"--fail-on {name}: one value in a run tells no change from noise; give runs of "
                "--repeats 3 or more, and a metric that every repeat has"
            )
        why = "; ".join(missing) or "no cell of both runs shows it"
        raise HistoryError(f"--fail-on {name} compares nothing: {why}")


def _table(rows: list[Row]) -> Table:
    head = ["cell", "metric", "A", "95 %", "n", "B", "95 %", "n", "change", "p", ""]
    shown = [
        [
            row.cell,
            row.metric,
            *_side(row.base),
            *_side(row.new),
            _delta(row),
            "-" if row.p is None else f"{row.p:.3f}",
            row.outcome if row.outcome not in ("~", "?") else "",
        ]
        for row in rows
    ]
    return Table(head, shown, [_flat(row) for row in rows], left=2)


def _side(side: Summary) -> list[str]:
    digits = decimals_for(side.median, 2)
    if side.lower is None or side.upper is None:
        return [plain(side.median, digits), "-", str(side.n)]
    interval = f"{plain(side.lower, digits)}..{plain(side.upper, digits)}"
    return [plain(side.median, digits), interval, str(side.n)]


def _delta(row: Row) -> str:
    """The change, `~` where noise alone could have made it."""
    if row.change is None:
        return "-"
    return "~" if row.outcome == "~" else percent(row.change * 100)


def _flat(row: Row) -> dict[str, object]:
    found: dict[str, object] = {"cell": row.cell, "metric": row.metric, "unit": row.unit}
    for name, side in (("base", row.base), ("new", row.new)):
        found |= {f"{name}_{key}": value for key, value in dataclasses.asdict(side).items()}
    return found | {
        "change": row.change, "worsening": row.worsening, "p": row.p, "outcome": row.outcome
    }  # fmt: skip


def _fails(row: Row, limits: dict[str, float]) -> bool:
    limit = limits.get(row.metric, limits.get(ANY))
    if limit is None:
        return False
    if METRICS[row.metric].better == "exact":
        return (row.change or 0.0) > limit
    return row.outcome == "worse" and (row.worsening or 0.0) > limit


def _limits(text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, _, percents = part.strip().partition(":")
        if name != ANY and name not in METRICS:
            near = difflib.get_close_matches(name, (ANY, *METRICS), 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise argparse.ArgumentTypeError(
                f"{name!r} is no metric; {hint}write METRIC:PERCENT, the metric being {ANY} or one "
                f"of {', '.join(METRICS)}"
            )
        try:
            found[name] = float(percents.removesuffix("%")) / 100
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{part!r}: write METRIC:PERCENT, as in tpot_ms:5%"
            ) from None
        if not 0 <= found[name] < float("inf"):
            raise argparse.ArgumentTypeError(f"{part!r}: the percentage must be 0 or more")
    return found
