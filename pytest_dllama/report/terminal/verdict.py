"""A verdict for a terminal: worst cells first, each effect with its interval and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.verdict import (
    MANY_PAIRS,
    PRECEDENCE,
    AttributedPart,
    Cause,
    CellVerdict,
    MetricVerdict,
    VerdictFile,
)
from pytest_dllama.report.terminal.columns import aligned

NAMES = {
    "ttft_s": "TTFT",
    "tpot_ms": "TPOT",
    "steady_tpot_ms": "steady TPOT",
    "rct_s": "RCT",
}
HEADER = ("cell", "TPOT ms", "against base", "TTFT", "RCT", "pairs", "verdict")
OTHERS = ("ttft_s", "rct_s")  # of which the table has the status only
# In the narrow columns; the words stand below the table.
_SHORT = {"INCONCLUSIVE": "open", "REGRESSED": "WORSE", "IMPROVED": "better", "PASS": "pass"}
_RIGHT = (1, 5)  # columns of numbers
LEAST_SHARE, MOST_PARTS = 0.10, 3  # of a change, that are worth a word
_EXPLAINED = ("REGRESSED", "INCONCLUSIVE", "IMPROVED")  # the table has of most metrics one word
_MANY_TIMES = 10  # as slow: from here on it is told so, not in percent


def verdict_lines(found: VerdictFile) -> list[str]:
    """The table of cells, worst first, then what a reader must know beside it."""
    cells = sorted(found.cells, key=lambda cell: PRECEDENCE.index(cell.status))
    what = "boards" if found.emulated_board else "links"
    emulated = [f"EMULATED {what} ({found.emulated})"] if found.emulated else []
    return [*emulated, *aligned([HEADER, *map(_row, cells)], _RIGHT), *_remarks(found, cells)]


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


def _remarks(found: VerdictFile, cells: Sequence[CellVerdict]) -> list[str]:
    lines = []
    for cell in cells:
        lines += [f"{cell.status} {cell.id}: {reason}" for reason in cell.reasons]
        for status in PRECEDENCE:
            if status in _EXPLAINED:
                lines += [
                    f"{status} {cell.id}: {explained(verdict)}"
                    for verdict in cell.metrics
                    if verdict.status == status
                ]
        lines += [
            f"WHY {cell.id}: {why}" for verdict in cell.attributed if (why := attributed(verdict))
        ]
        lines += [
            f"WORK {cell.id}: {_cause(work)}, {_of_metric(work, verdict)}"
            for verdict in cell.metrics
            for work in verdict.changed_work
        ]
        lines += _sessions(cell)
        if cell.retried:
            lines.append(
                f"note {cell.id}: a pair was taken anew, for a rank was lost: {cell.retried}"
            )
        for change in cell.exact_changes:
            lines.append(f"CHANGED {cell.id}: {change.metric} {change.base:g} -> {change.new:g}")
        if cell.same_tokens is False:
            lines.append(f"note {cell.id}: both sides are valid, and their tokens differ")
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
    return [*lines, *_next(found)]


def _next(found: VerdictFile) -> list[str]:
    """What to run now, where the verdict leaves a question that a command answers."""
    lines = []
    if good := found.bisected_from:
        lines.append(
            f"NEXT whose commit it was: git bisect start HEAD {good}; git bisect run pytest-dllama "
            f"bench --bisect --baseline git:{good}, and the options of this run"
        )
    if looks := found.further_looks:
        lines.append(f"NEXT what is open: the same with --pairs {','.join(map(str, looks))}")
    return lines


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
    return f", {requests} request{'' if requests == 1 else 's'} a session"


def attributed(verdict: MetricVerdict) -> str | None:
    """Where a change sits, in a sentence; None where nothing is known of it."""
    found = verdict.attribution
    parts = found.parts if found else ()
    told = [part for part in parts if part.share >= LEAST_SHARE][:MOST_PARTS]
    if not told or verdict.change is None:
        return None
    name = NAMES.get(verdict.metric, verdict.metric)
    sits = "; ".join(f"{part.share:.0%} of it is {_part(part)}" for part in told)
    cause = found.cause if found else None
    # Of one kind of one rank's work the parts themselves say it.
    lead = f"{_cause(cause)}: " if cause and (cause.also or len(cause.ranks) > 1) else ""
    if found and found.metric != verdict.metric:
        lead = f"by the parts of {NAMES[found.metric]}: {lead}"
    return f"{verdict.change:+.1%} {name}: {lead}{sits}"


def _of_metric(work: Cause, verdict: MetricVerdict) -> str:
    """What a change of work is of a metric that passed or is open."""
    name = NAMES.get(verdict.metric, verdict.metric)
    whole_ms = (verdict.base or 0) * (1e3 if verdict.metric.endswith("_s") else 1)
    share = f"about {work.effect_ms / whole_ms:+.1%} {name}" if whole_ms else name
    return f"surely: {share}, which itself is {verdict.status}"


def _cause(cause: Cause) -> str:
    """Work that changed, in words.

    >>> slow = {"phase": "decode", "part": "qkv", "ranks": (1, 3), "change": 0.4, "effect_ms": 1}
    >>> _cause(Cause(**slow, is_everywhere=False))
    'qkv on ranks 1 and 3 became 40% slower'
    >>> _cause(Cause(**slow, is_everywhere=True))
    'qkv on every rank became 40% slower'
    >>> _cause(Cause(**(slow | {"ranks": (2,)}), is_everywhere=False))
    'qkv on rank 2 became 40% slower'
    >>> _cause(Cause(**slow, is_everywhere=True, also=("logits",)))
    'qkv on every rank became 40% slower, as did logits'
    """
    *first, last = map(str, cause.ranks)
    where = f"ranks {', '.join(first)} and {last}" if first else f"rank {last}"
    if first and cause.is_everywhere:
        where = "every rank"
    also = f", as did {', '.join(map(_what, cause.also))}" if cause.also else ""
    return f"{_what(cause.part)} on {where} became {_faster_or_slower(cause.change)}{also}"


def _part(part: AttributedPart) -> str:
    """A part in words.

    >>> qkv = AttributedPart(phase="decode", part="qkv", rank=0, effect_ms=1, share=1, change=0.3)
    >>> _part(qkv)
    'qkv on rank 0 (30% slower)'
    >>> cause = {"waited_for": 3, "because_part": "qkv", "because_change": 0.2}
    >>> _part(qkv.model_copy(update=cause))
    'waiting for rank 3, whose qkv became 20% slower'
    """
    if part.waited_for is not None:
        cause = _faster_or_slower(part.because_change)
        whose = f", whose {part.because_part} became {cause}" if cause else ""
        return f"waiting for rank {part.waited_for}{whose}"
    change = _faster_or_slower(part.change)
    return f"{_what(part.part)} on rank {part.rank}{f' ({change})' if change else ''}"


def _what(part: str) -> str:
    return "time that no span covers" if part == "other" else part


def _faster_or_slower(change: float | None) -> str:
    """A change of work, in words.

    >>> _faster_or_slower(0.31), _faster_or_slower(-0.2), _faster_or_slower(391.4)
    ('31% slower', '20% faster', '392 times as slow')
    >>> _faster_or_slower(-0.992)
    '125 times as fast'
    """
    if change is not None and change >= _MANY_TIMES - 1:
        return f"{1 + change:.0f} times as slow"
    if change is not None and -1 < change <= 1 / _MANY_TIMES - 1:
        return f"{1 / (1 + change):.0f} times as fast"
    return "" if change is None else f"{abs(change):.0%} {'slower' if change > 0 else 'faster'}"


def explained(verdict: MetricVerdict) -> str:
    """A verdict's effect, its interval, what it cost, and what it would take to decide."""
    what = NAMES.get(verdict.metric, verdict.metric)
    if verdict.change is None:
        return f"{what}: {verdict.note or 'no value'}"
    figures = f"{what} {effect(verdict)}, tolerated {verdict.tolerance:.1%}"
    pairs = f"{verdict.pairs} pair{'s' if verdict.pairs > 1 else ''}"
    noise = f"{pairs}, one varies by {verdict.pair_sd or 0:.1%}"
    if not verdict.is_paired:
        noise = f"unpaired, {verdict.note}"
    if verdict.status == "REGRESSED":
        return f"{figures}: surely worse, by {verdict.lower or 0:.1%} or more; {noise}"
    if verdict.status == "IMPROVED":
        return f"{figures}: surely better, by {-(verdict.upper or 0):.1%} or more; {noise}"
    if verdict.status != "INCONCLUSIVE":
        return f"{figures}; {noise}"
    if not verdict.is_paired:
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
