"""A verdict for a terminal: worst cells first, each effect with its interval and what it cost."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pytest_dllama.record.verdict import PRECEDENCE, CellVerdict, MetricVerdict, VerdictFile

NAMES = {"ttft_s": "TTFT", "tpot_ms": "TPOT", "rct_s": "RCT"}
OTHERS = ("ttft_s", "rct_s")  # of which the table has the status only


def verdict_lines(found: VerdictFile, width: int = 100) -> list[str]:
    """The table of cells, then what a reader must know beside it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("cell", no_wrap=True)
    table.add_column("TPOT ms", justify="right", no_wrap=True)
    table.add_column("against base", no_wrap=True)
    for metric in OTHERS:
        table.add_column(NAMES[metric], no_wrap=True)
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for cell in sorted(found.cells, key=lambda cell: PRECEDENCE.index(cell.status)):
        table.add_row(*_row(cell))
    console = Console(width=width, color_system=None, record=False, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines() if line.strip()]
    return [*lines, *_remarks(found)]


def _row(cell: CellVerdict) -> list[str]:
    by_name = {verdict.metric: verdict for verdict in cell.metrics}
    tpot = by_name.get("tpot_ms")
    pairs = max((verdict.pairs for verdict in cell.metrics), default=0)
    return [
        cell.id,
        f"{tpot.new:.2f}" if tpot and tpot.new is not None else "-",
        effect(tpot),
        *(by_name[metric].status if metric in by_name else "-" for metric in OTHERS),
        str(pairs or "-"),
        cell.status,
    ]


def effect(verdict: MetricVerdict | None) -> str:
    """A change with its interval; plus is worse.

    >>> effect(None)
    '-'
    """
    if verdict is None or verdict.change is None:
        return "-"
    lower, upper = verdict.lower or 0.0, verdict.upper or 0.0
    return f"{verdict.change:+.1%} ({lower * 100:+.1f}..{upper * 100:+.1f})"


def _remarks(found: VerdictFile) -> list[str]:
    lines = []
    for cell in found.cells:
        name = cell.id
        lines += [f"{cell.status} {name}: {reason}" for reason in cell.reasons]
        for verdict in cell.metrics:
            if verdict.status in ("REGRESSED", "INCONCLUSIVE"):
                lines.append(f"{verdict.status} {name}: {_explained(verdict)}")
        for change in cell.exact_changes:
            lines.append(f"CHANGED {name}: {change.metric} {change.base:g} -> {change.new:g}")
        if cell.same_tokens is False:
            lines.append(f"note {name}: both sides are valid, and their tokens differ")
    looks = ", ".join(map(str, found.looks))
    lines.append(
        f"{found.base_label} -> {found.new_label}: looks at {looks} pairs, each bound at "
        f"{found.level:.2%}, order by seed {found.seed}, {found.wall_s:.0f} s"
    )
    if any(verdict.is_provisional for cell in found.cells for verdict in cell.metrics):
        lines.append(
            "provisional: this cluster's noise is not known well enough yet, so each cell's own "
            "pairs had to tell it; `pytest-dllama duet --baseline self` adds to what is known"
        )
    return lines


def _explained(verdict: MetricVerdict) -> str:
    what = NAMES.get(verdict.metric, verdict.metric)
    if verdict.change is None:
        return f"{what}: no value"
    text = f"{what} {verdict.change:+.1%}, tolerated {verdict.tolerance:.0%}"
    if verdict.status == "REGRESSED":
        return f"{text}: surely worse, by {verdict.lower or 0:.1%} or more"
    noise = f"a pair varies by {verdict.pair_sd or 0:.1%}"
    more = verdict.pairs_to_decide
    return f"{text}; {noise}; " + (
        f"about {more} pairs would decide" if more else "no reasonable number of pairs decides"
    )
