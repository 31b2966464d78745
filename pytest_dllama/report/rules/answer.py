"""The verdict in a line, what changed against the baseline and why: from both files' figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_dllama.metrics.definitions import median_index
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.verdict import PRECEDENCE, Cause, CellVerdict, MetricVerdict
from pytest_dllama.report.figures.cell_detail import median_sample
from pytest_dllama.report.figures.charts import finite
from pytest_dllama.report.figures.quantities import SPEED, STEADY_TPOT, Quantity
from pytest_dllama.report.figures.view import RunView, counts, verdict_of
from pytest_dllama.report.sentences.answer import (
    CauseFound,
    Compared,
    EffectSits,
    EffectUnexplained,
    ExactChanged,
    GapRange,
    HeadlineFaster,
    HeadlineMeasured,
    HeadlinePass,
    HeadlineSlower,
    HeadlineTrouble,
    SlowGap,
    TokensDiffer,
    Undecided,
    WidestSpread,
    WorkChanged,
)
from pytest_dllama.report.sentences.base import Sentence

QUANTITIES = {quantity.key: quantity for quantity in (*SPEED, STEADY_TPOT)}
RUN_PRECEDENCE = ("ERROR", "INVALID", "FAIL", "SKIPPED")
TOLD_PARTS = 3
OPEN = "INCONCLUSIVE"
TELLING = 0.10  # share of an effect below which a part is not worth a line
SLOW_GAP = 3.0  # times the median gap


def headline(view: RunView) -> Sentence:
    """The whole run in a line: the worst that is to be said of it."""
    trouble = _run_trouble(view)
    if view.verdict is None or (trouble and trouble.status in ("ERROR", "INVALID")):
        return trouble or _quiet(view)
    worst = _judged(view.verdict.cells, "ERROR", "INVALID", "REGRESSED")
    return worst or trouble or _judged(view.verdict.cells, *PRECEDENCE) or _quiet(view)


def _judged(cells: Sequence[CellVerdict], *statuses: str) -> Sentence | None:
    """The worst of the verdict's cells, if it is one of these."""
    for status in statuses:
        found = [cell for cell in cells if cell.status == status]
        if not found or status == "PASS":
            continue
        change = _largest(found, status)
        if change is None:
            return HeadlineTrouble(status, found[0].id, len(found), len(cells))
        cell, quantity, percent = change
        others = len(found) - 1
        if status == "IMPROVED":
            return HeadlineFaster(cell, quantity, -percent, others)
        return HeadlineSlower(cell, quantity, percent, others)
    return None


def _largest(cells: Sequence[CellVerdict], status: str) -> tuple[str, Quantity, float] | None:
    """(cell, quantity, percent) of the largest change that is REGRESSED or IMPROVED."""
    if status not in ("REGRESSED", "IMPROVED"):
        return None
    found = [
        (cell.id, QUANTITIES[one.metric], change * 100)
        for cell in cells
        for one in cell.metrics
        if one.status == status and one.metric in QUANTITIES
        if (change := finite(one.change)) is not None
    ]
    return max(found, key=lambda item: abs(item[2]), default=None)


def _run_trouble(view: RunView) -> HeadlineTrouble | None:
    """The worst of the run's own verdicts."""
    cells = view.ordered()
    for status in RUN_PRECEDENCE:
        found = [cell for cell in cells if _status(cell) == status]
        if found:
            return HeadlineTrouble(status, found[0].id, len(found), len(cells))
    return None


def _status(cell: CellRecord) -> str:
    """A cell without figures is an error, whatever was judged of it."""
    return "ERROR" if cell.status == "failed" else verdict_of(cell)


def _quiet(view: RunView) -> Sentence:
    cells = view.ordered()
    judged = [cell for cell in cells if _status(cell) == "PASS"]
    if cells and len(judged) == len(cells):
        against = view.verdict.base_label if view.verdict else None
        unchecked = sum(c.output is None or c.output.status == "unchecked" for c in cells)
        return HeadlinePass(len(cells), against, unchecked)
    measured = sum(cell.status == "ok" for cell in cells)
    return HeadlineMeasured(measured, len(cells), len(judged))


def compared(view: RunView) -> list[Sentence]:
    """Against what it was compared."""
    found = view.verdict
    if found is None:
        return []
    pairs = max((one.pairs for cell in found.cells for one in cell.metrics), default=0)
    passed = sum(cell.status in ("PASS", "IMPROVED") for cell in found.cells)
    sides = found.base_label, found.new_side
    return [Compared(*sides, pairs, passed, len(found.cells), bool(found.inject))]


def why(view: RunView) -> list[Sentence]:
    """Where the time of every regressed or improved cell went."""
    said: list[Sentence] = []
    for cell in worst_first(view):
        for one in cell.metrics:
            if one.metric in QUANTITIES:
                said += _explained(cell, one)
    return _once(said)


def _once(said: Sequence[Sentence]) -> list[Sentence]:
    """What is the same of several metrics of a cell is told once, with the share of each."""
    found: dict[Sentence, Sentence] = {}
    for one in said:
        if not isinstance(one, EffectSits):
            found.setdefault(one, one)
            continue
        place = replace(one, quantity=SPEED[0], share=0.0)
        first = found.setdefault(place, one)
        if isinstance(first, EffectSits) and first is not one:
            found[place] = replace(first, also=(*first.also, (one.quantity, one.share)))
    return list(found.values())


def undecided(view: RunView) -> list[Sentence]:
    """How many figures stayed open, and what would decide them."""
    cells = view.verdict.cells if view.verdict else ()
    left = [(cell.id, one) for cell in cells for one in cell.metrics if one.status == OPEN]
    if not left:
        return []
    needed = [one.pairs_to_decide for _, one in left]
    known = [pairs for pairs in needed if pairs is not None]
    most = max(known) if known and len(known) == len(needed) else None
    n_cells = len({name for name, _ in left})
    return [Undecided(len(left), n_cells, min(known, default=None), most)]


def other_changes(view: RunView) -> list[Sentence]:
    """Counted figures and tokens that differ from the baseline's."""
    cells = view.verdict.cells if view.verdict else ()
    said: list[Sentence] = [
        ExactChanged(cell.id, one.metric, one.base, one.new)
        for cell in cells
        for one in cell.exact_changes
        if finite(one.base) is not None and finite(one.new) is not None
    ]
    if unlike := tuple(cell.id for cell in cells if cell.same_tokens is False):
        said.append(TokensDiffer(unlike))
    return said


def worst_first(view: RunView) -> list[CellVerdict]:
    """The verdict's cells, the worst first."""
    cells = view.verdict.cells if view.verdict else ()
    return sorted(cells, key=lambda cell: PRECEDENCE.index(cell.status))


def _explained(cell: CellVerdict, one: MetricVerdict) -> Iterator[Sentence]:
    quantity = QUANTITIES[one.metric]
    for work in one.changed_work:
        yield WorkChanged(_found(cell, work), quantity, one.status)
    if one.attribution is None or one not in cell.attributed:
        return
    cause = one.attribution.cause
    if cause is not None and (cause.also or len(cause.ranks) > 1):
        yield _found(cell, cause)  # of one kind of one rank's work the parts themselves say it
    for part in one.attribution.parts[:TOLD_PARTS]:
        share = finite(part.share)
        if share is not None and share >= TELLING:
            grown = finite(part.change)
            yield EffectSits(
                cell.id, quantity, part.part, part.rank, share, part.waited_for, grown,
                part.because_part, finite(part.because_change),
            )  # fmt: skip
    rest = finite(one.attribution.unexplained)
    if rest is not None and rest >= TELLING:
        yield EffectUnexplained(cell.id, rest)


def _found(cell: CellVerdict, work: Cause) -> CauseFound:
    return CauseFound(
        cell.id, work.part, work.ranks, work.is_everywhere, work.change, also=work.also
    )


def slow_gaps(view: RunView) -> list[Sentence]:
    """The longest gap of a cell's median repeat, where it is far above the median one."""
    said: list[Sentence] = []
    for cell in view.ordered():
        found = _slow_gap(cell)
        said += [found] if found is not None else []
    return said[:TOLD_PARTS]


def _slow_gap(cell: CellRecord) -> SlowGap | None:
    sample = median_sample(cell) if counts(cell) else None
    gaps = [gap for ms in sample.itl_ms if (gap := finite(ms)) is not None] if sample else []
    if len(gaps) < 2:
        return None
    longest, middle = max(gaps), gaps[median_index(gaps)]
    if middle <= 0 or longest < SLOW_GAP * middle:
        return None
    return SlowGap(cell.id, gaps.index(longest) + 2, longest, middle)


def gap_ranges(view: RunView) -> list[Sentence]:
    """The median and the longest gap of every cell that has some, worst last."""
    found = []
    for cell in view.ordered():
        sample = median_sample(cell) if counts(cell) else None
        gaps = [gap for ms in sample.itl_ms if (gap := finite(ms)) is not None] if sample else []
        if len(gaps) > 1:
            found.append(GapRange(cell.id, gaps[median_index(gaps)], max(gaps)))
    return [*found]


def widest_spread(view: RunView) -> list[Sentence]:
    """How far the repeats of one figure lie apart at most."""
    found = [
        (value.maximum / value.minimum * 100 - 100, cell.id, quantity)
        for cell in view.ordered()
        for quantity in SPEED
        if counts(cell) and (value := quantity.of(cell)) and value.n > 1 and value.minimum > 0
    ]
    known = [item for item in found if finite(item[0]) is not None]
    if not known:
        return []
    percent, cell_id, quantity = max(known, key=lambda item: item[0])
    return [WidestSpread(cell_id, quantity, percent, len({name for _, name, _ in known}))]
