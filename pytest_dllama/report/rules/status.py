"""What was measured, and whether it may be believed: cells, outputs, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.view import RunView, counts, name_of
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.status import (
    CellExcluded,
    CellFailed,
    CellRetried,
    Coverage,
    FiguresDoubted,
    OutputCounts,
    RepeatRule,
    SessionLengths,
    SharedCores,
    ThresholdCounts,
    ThresholdMissed,
    TieExplained,
    WorkerCountWrong,
)
from pytest_dllama.report.text.alike import without_figures
from pytest_dllama.report.text.numbers import token_shown
from pytest_dllama.report.text.shell import option_values


def overview(view: RunView) -> list[Sentence]:
    """What was measured, and what came to nothing."""
    cells = view.ordered()
    by_status = [cell.status for cell in cells]
    coverage = Coverage(
        tuple(dict.fromkeys(cell.model for cell in cells)) or view.models,
        len({cell.workload for cell in cells}),
        view.node_counts,
        len(cells),
        by_status.count("ok"),
        by_status.count("failed"),
        by_status.count("skipped"),
    )
    request = view.run.request
    repeats = RepeatRule(request.repeats, request.warmup)
    return [coverage, repeats, *session_lengths(view), *troubles(view)]


def session_lengths(view: RunView) -> list[SessionLengths]:
    """The requests of a session, where pairs were taken: a stored run is no pair of anything."""
    groups: dict[int, list[str]] = {}
    for cell in view.verdict.cells if view.verdict and view.verdict.looks else ():
        if cell.metrics:
            groups.setdefault(cell.requests, []).append(cell.id)
    found = tuple((requests, tuple(cells)) for requests, cells in sorted(groups.items()))
    return [SessionLengths(found)] if found else []


def shared_cores(view: RunView) -> list[SharedCores]:
    """Whether the nodes of a local run had fewer cores than threads."""
    request, cores = view.run.request, view.run.environment.cpu_count
    measured = [cell.nodes for cell in view.ordered() if cell.status == "ok"]
    threads = max(measured, default=0) * (request.nthreads or 0)
    if request.host_kind != "local" or cores < 1 or threads <= cores:
        return []
    return [SharedCores(threads, cores)]


def troubles(view: RunView) -> list[Sentence]:
    """Cells without figures and cells whose figures do not count."""
    said: list[Sentence] = []
    for cell in view.ordered():
        if cell.retried is not None:
            said.append(CellRetried(name_of(cell), cell.nodes, cell.retried))
        if cell.status != "ok":
            error = (cell.error or "").strip().split("\n")[0]
            said.append(CellFailed(name_of(cell), cell.nodes, cell.status == "skipped", error))
        elif not counts(cell):
            wrong = cell.output is not None and cell.output.status == "different"
            reasons = cell.verdict.reasons if cell.verdict else ()
            said.append(CellExcluded(name_of(cell), cell.nodes, wrong, reasons))
    return _failed_alike(said)


def _failed_alike(said: Sequence[Sentence]) -> list[Sentence]:
    """Of the cells that failed for one reason, the first with how many there are more."""
    found: dict[object, Sentence] = {}
    for one in said:
        key = (one.skipped, without_figures(one.error)) if isinstance(one, CellFailed) else one
        first = found.setdefault(key, one)
        if isinstance(first, CellFailed) and first is not one:
            found[key] = replace(first, others=first.others + 1)
    return list(found.values())


def doubted(view: RunView) -> list[Sentence]:
    """Of imported figures, how many cells a note says something of."""
    if view.run.request.host_kind != "log":
        return []
    notes = [note.partition(": ")[0] for note in view.run.notes]
    ids = {cell.id for cell in view.run.cells}
    told = [name for name in notes if name in ids]
    return [FiguresDoubted(len(set(told)), len(view.cells), len(told))] if told else []


def why_not(view: RunView) -> list[Sentence]:
    """Why cells did not pass, the first reason of each: those without figures first."""
    cells = [said for said in troubles(view) if not isinstance(said, CellRetried)]
    failed = [said for said in cells if isinstance(said, CellFailed) and not said.skipped]
    excluded = [
        replace(said, reasons=said.reasons[:1]) for said in cells if isinstance(said, CellExcluded)
    ]
    missed = [said for said in thresholds(view) if isinstance(said, ThresholdMissed)]
    return [*failed, *excluded, *missed]


def correctness(view: RunView) -> list[Sentence]:
    """How many outputs were compared and how they fared, and where they part."""
    measured = [cell for cell in view.ordered() if cell.status == "ok"]
    states = [cell.output.status if cell.output else "unchecked" for cell in measured]
    if not measured:
        return []
    said: list[Sentence] = [
        OutputCounts(
            len(states),
            states.count("oracle"),
            states.count("identical"),
            states.count("tie"),
            states.count("different"),
            states.count("unchecked"),
            states.count("engine_fault"),
        )
    ]
    for cell in measured:
        part = cell.output.first_difference if cell.output else None
        if cell.output is not None and part is not None:
            said.append(
                TieExplained(
                    name_of(cell),
                    cell.nodes,
                    part.position + 1,
                    token_shown(part.oracle_piece, part.oracle_token_id),
                    token_shown(part.cell_piece, part.cell_token_id),
                    part.oracle_margin,
                    part.tolerance,
                    cell.output.status != "different",
                )
            )
    return said


def thresholds(view: RunView) -> list[Sentence]:
    """How many thresholds were kept, and each that was not."""
    results = [(cell, result) for cell in view.ordered() for result in cell.thresholds]
    if not results:
        return []
    missed = [
        ThresholdMissed(
            name_of(cell),
            cell.nodes,
            result.metric,
            result.value,
            result.limit,
            result.direction == "max",
        )
        for cell, result in results
        if not result.passed
    ]
    return [ThresholdCounts(len(results) - len(missed), len(results)), *missed]


def worker_count_wrong(cell: CellRecord) -> WorkerCountWrong | None:
    """A command that lists other than nodes - 1 workers, as hand-copied ones do."""
    if cell.commands is None:
        return None
    workers = len(option_values(cell.commands.root, "--workers"))
    wrong = workers != cell.nodes - 1
    return WorkerCountWrong(name_of(cell), cell.nodes, workers) if wrong else None
