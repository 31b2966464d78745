"""A verdict for a terminal: worst cells first, each effect with its interval and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_dllama.amounts import counted
from pytest_dllama.record.verdict import (
    MANY_PAIRS,
    PRECEDENCE,
    CellVerdict,
    MetricVerdict,
    VerdictFile,
)
from pytest_dllama.report.terminal.attribution import NAMES, attributed, changed_work
from pytest_dllama.report.terminal.columns import aligned

HEADER = ("cell", "TPOT ms", "against base", "TTFT", "RCT", "pairs", "verdict")
OTHERS = ("ttft_s", "rct_s")  # of which the table has the status only
# In the narrow columns; the words stand below the table.
_SHORT = {"INCONCLUSIVE": "open", "REGRESSED": "WORSE", "IMPROVED": "better", "PASS": "pass"}
_RIGHT = (1, 5)  # columns of numbers
_EXPLAINED = ("REGRESSED", "INCONCLUSIVE", "IMPROVED")  # the table has of most metrics one word


def verdict_lines(found: VerdictFile, *, is_bisecting: bool = False) -> list[str]:
    """The table of cells, worst first, then what a reader must know beside it.

    In the middle of a bisection none is offered.
    """
    cells = sorted(found.cells, key=lambda cell: PRECEDENCE.index(cell.status))
    what = "boards" if found.emulated_board else "links"
    emulated = [f"EMULATED {what} ({found.emulated})"] if found.emulated else []
    return [
        *emulated,
        *aligned([HEADER, *map(_row, cells)], _RIGHT),
        *_remarks(found, cells, is_bisecting),
    ]


def _row(cell: CellVerdict) -> tuple[str, ...]:
    by_name = {verdict.metric: verdict for verdict in cell.metrics}
    tpot = by_name.get("tpot_ms")
    pairs = max((verdict.pairs for verdict in cell.metrics), default=0)
    return (
        cell.id,
        f"{tpot.new:.2f}" if tpot and tpot.new is not None else "-",
        effect(tpot),
        *(_SHORT[by_name[m].status] if m in by_name else "-" for m in OTHERS),
        str(pairs or "-"),
        cell.status,
    )


def effect(verdict: MetricVerdict | None) -> str:
    """A change with its interval; plus is worse.

    >>> effect(None)
    '-'
    """
    if verdict is None or verdict.change is None:
        return "-"
    if verdict.lower is None or verdict.upper is None:
        return f"{verdict.change:+.1%} (no bounds)"
    return f"{verdict.change:+.1%} ({verdict.lower * 100:+.1f}..{verdict.upper * 100:+.1f})"


def _remarks(found: VerdictFile, cells: Sequence[CellVerdict], is_bisecting: bool) -> list[str]:
    """What stands below the table: of each cell, then of the whole comparison."""
    lines = [line for cell in cells for line in _of_cell(cell)]
    lines.append(_how(found))
    if not found.looks:
        lines.append(
            "unpaired: a stored run is of another time, so this is weaker than pairs, which "
            "--baseline git:REV takes"
        )
    elif any(
        verdict.is_provisional and not verdict.note
        for cell in found.cells
        for verdict in cell.metrics
    ):
        lines.append(
            "provisional: this cluster's noise is not known well enough yet, so each cell's own "
            "pairs had to tell it; pairs of --baseline self add to what is known"
        )
    if found.is_all_the_same:
        lines.append(
            f"both sides are commit {found.same_commit}, without changes: what differs is noise, "
            "as with --baseline self"
        )
    return [*lines, *([] if is_bisecting else _next(found))]


def _next(found: VerdictFile) -> list[str]:
    """What to run now, where the verdict leaves a question that a command answers."""
    lines = []
    if good := found.bisected_from:
        lines.append(
            f"NEXT whose commit it was: git bisect start HEAD {good}; git bisect run pytest-dllama "
            f"bench --bisect --baseline git:{good}{found.bisecting_tolerance}, and the options of "
            "this run"
        )
    if looks := found.further_looks:
        lines.append(f"NEXT what is open: the same with --pairs {','.join(map(str, looks))}")
    return lines


def _of_cell(cell: CellVerdict) -> Iterator[str]:
    """Its reasons, its metrics by status, where changes sit, and what else differs."""
    for reason in cell.reasons:
        yield f"{cell.status} {cell.id}: {reason}"
    for status in filter(_EXPLAINED.__contains__, PRECEDENCE):
        for verdict in cell.metrics:
            if verdict.status == status:
                yield f"{status} {cell.id}: {explained(verdict)}"
    for verdict in cell.attributed:
        if why := attributed(verdict):
            yield f"WHY {cell.id}: {why}"
    for verdict in cell.metrics:
        for work in verdict.changed_work:
            yield f"WORK {cell.id}: {changed_work(work, verdict)}"
    yield from _sessions(cell)
    if cell.retried:
        yield f"note {cell.id}: a pair was taken anew, for a rank was lost: {cell.retried}"
    for change in cell.exact_changes:
        yield f"CHANGED {cell.id}: {change.metric} {change.base:g} -> {change.new:g}"
    if cell.same_tokens is False:
        yield f"note {cell.id}: both sides are valid, and their tokens differ"


def _sessions(cell: CellVerdict) -> list[str]:
    """How many requests its sessions had, and what speaks for it.

    >>> from pytest_dllama.record.verdict import Prospect
    >>> known = [Prospect(requests=n, pairs=p, seconds=s) for n, p, s in ((1, 7, 12), (3, 3, 6))]
    >>> cell = CellVerdict(model="m", nodes=2, status="PASS", requests=3, prospects=known)
    >>> for part in _sessions(cell)[0].split(": soonest "):
    ...     print(part)
    SESSIONS m-2: 3 requests each, the median counts
    (1: 7 pairs in 12 s; 3: 3 pairs in 6 s)
    >>> _sessions(cell.model_copy(update={"requests": 1, "prospects": known[:1]}))
    []
    """
    if cell.requests == 1 and len(cell.prospects) < 2:
        return []
    several = "1 request" if cell.requests == 1 else f"{cell.requests} requests"
    expected = "; ".join(
        f"{one.requests}: {one.pairs} pairs in {one.seconds:.0f} s" for one in cell.prospects
    )
    median = ", the median counts" if cell.requests > 1 else ""
    why = f": soonest ({expected})" if len(cell.prospects) > 1 else ""
    return [f"SESSIONS {cell.id}: {several} each{median}{why}"]


def _how(found: VerdictFile) -> str:
    """What was compared and what it cost."""
    looks = ", ".join(map(str, found.looks))
    if not looks:
        return (
            f"{found.base_label} -> {found.new_label}: each bound at {found.level:.0%}; measuring "
            f"took {found.wall_s:.0f} s"
        )
    return (
        f"{found.base_label} -> {found.new_label}: looks at {looks} pairs{_requests(found)}, "
        f"each bound at {found.level:.2%}, order by seed {found.seed}; the verdict took "
        f"{found.wall_s:.0f} s"
    )


def _requests(found: VerdictFile) -> str:
    """Of every session; cells that differ have their own lines."""
    counts = {cell.requests for cell in found.cells}
    if len(counts) != 1:
        return ""
    (requests,) = counts
    return f", {counted(requests, 'request')} a session"


def explained(verdict: MetricVerdict) -> str:
    """A verdict's effect, its interval, what it cost, and what it would take to decide."""
    what = NAMES.get(verdict.metric, verdict.metric)
    if verdict.change is None:
        return f"{what}: {verdict.note or 'no value'}"
    figures = f"{what} {effect(verdict)}, tolerated {verdict.tolerance:.1%}"
    pairs = counted(verdict.pairs, "pair")
    noise = f"{pairs}, one varies by {verdict.pair_sd or 0:.1%}"
    if not verdict.is_paired:
        noise = f"unpaired, {verdict.note}"
    if verdict.status == "REGRESSED":
        return f"{figures}: surely worse, by {verdict.lower or 0:.1%} or more; {noise}"
    if verdict.status == "IMPROVED":
        return f"{figures}: surely better, by {-(verdict.upper or 0):.1%} or more; {noise}"
    if verdict.status != "INCONCLUSIVE" or not verdict.is_paired:
        return f"{figures}; {noise}"
    if verdict.note:
        return f"{figures}; {noise}; {verdict.note}"
    more = verdict.pairs_to_decide
    decides = (
        f"about {more} pairs would decide"
        if more and more <= MANY_PAIRS
        else f"more than {MANY_PAIRS} pairs would be needed: make the machine quieter or requests "
        "longer"
    )
    return f"{figures}; {noise}; {decides}"
