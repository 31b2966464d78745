"""Findings and recommendations over the whole run: rules from figures to sentences."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.record import CellRecord, Estimate, OpStats
from pytest_dllama.report_analysis import best_nodes, best_of_models, comparison
from pytest_dllama.report_cells import token_shown
from pytest_dllama.report_compare import Best, difference, series
from pytest_dllama.report_quantities import (
    ROOT_MEMORY,
    SYNC_SHARE,
    TOKENS_PER_S,
    WORKER_MEMORY,
)
from pytest_dllama.report_resources import sync_shares, variance, wire
from pytest_dllama.report_sentences import (
    Ahead,
    AvoidNodes,
    CellExcluded,
    CellFailed,
    CheckLinks,
    CheckOutput,
    Coverage,
    Efficiency,
    FasterModel,
    FewerNodes,
    FixCell,
    FixOutput,
    Incomparable,
    Knee,
    LargestProcess,
    Level,
    MemoryNeed,
    MoreRepeats,
    NoKnee,
    OpGrowth,
    OutputCounts,
    Plateau,
    ReduceSync,
    RepeatRule,
    Sentence,
    SharedCores,
    StepAttribution,
    ThresholdCounts,
    ThresholdMissed,
    TieExplained,
    UseNodes,
)
from pytest_dllama.report_view import RunView, counts, verdict_of

NEARLY = 0.90  # of the best speed: worth naming a smaller cluster
SYNC_HEAVY = 0.50  # share of sync above which it is the first thing to improve


def overview(view: RunView) -> list[Sentence]:
    """What was measured, and what came to nothing."""
    cells = view.ordered()
    by_status = [cell.status for cell in cells]
    coverage = Coverage(
        view.models,
        view.node_counts,
        len(cells),
        by_status.count("ok"),
        by_status.count("failed"),
        by_status.count("skipped"),
    )
    request = view.run.request
    repeats = RepeatRule(request.repeats, request.warmup)
    return [coverage, repeats, *shared_cores(view), *troubles(view)]


def shared_cores(view: RunView) -> list[SharedCores]:
    """Whether the nodes of a local run had fewer cores than threads."""
    request, cores = view.run.request, view.run.environment.cpu_count
    measured = [cell.nodes for cell in view.ordered() if cell.status == "ok"]
    threads = max(measured, default=0) * request.nthreads
    if request.host_kind != "local" or cores < 1 or threads <= cores:
        return []
    return [SharedCores(threads, cores)]


def troubles(view: RunView) -> list[Sentence]:
    """Cells without figures and cells whose figures do not count."""
    said: list[Sentence] = []
    for cell in view.ordered():
        if cell.status != "ok":
            error = (cell.error or "").strip().split("\n")[0]
            said.append(CellFailed(cell.model, cell.nodes, cell.status == "skipped", error))
        elif not counts(cell):
            wrong = cell.output is not None and cell.output.status == "different"
            reasons = cell.verdict.reasons if cell.verdict else ()
            said.append(CellExcluded(cell.model, cell.nodes, wrong, reasons))
    return said


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
        )
    ]
    for cell in measured:
        part = cell.output.first_difference if cell.output else None
        if cell.output is not None and part is not None:
            said.append(
                TieExplained(
                    cell.model,
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
            cell.model,
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


def efficiency(view: RunView) -> list[Efficiency]:
    """tokens/s at n nodes over n/base times tokens/s at the smallest node count."""
    said = []
    for model in view.models:
        values = series(view, model, TOKENS_PER_S)
        for nodes, value in values[1:]:
            base, first = values[0]
            if base > 0 and first.value > 0:
                share = value.value / (first.value * nodes / base)
                said.append(Efficiency(model, base, nodes, share))
    return said


def knees(view: RunView) -> list[Sentence]:
    """Where each model stops getting faster, and what the time goes to there."""
    said: list[Sentence] = []
    for model, top in best_of_models(view, TOKENS_PER_S).items():
        values = series(view, model, TOKENS_PER_S)
        index = [nodes for nodes, _ in values].index(top.nodes)
        if index + 1 == len(values):
            said += _no_knee(model, values[-2][0], top, values[-2][1].value)
            continue
        after, then = values[index + 1]
        diff = difference(then, top.value)
        if diff.tied:
            said.append(Plateau(model, top.nodes, after))
        elif diff.percent is not None:
            speeds = (top.value.value, then.value)
            said.append(Knee(model, top.nodes, after, diff.percent, *speeds))
            said += _attribution(view.cell(model, top.nodes), view.cell(model, after))
    return said


def _no_knee(model: str, before: int, top: Best, previous: float) -> Iterator[Sentence]:
    if previous:
        change = (top.value.value / previous - 1) * 100
        yield NoKnee(model, before, top.nodes, change)


def _attribution(start: CellRecord | None, end: CellRecord | None) -> Iterator[Sentence]:
    """The root's compute and sync time, and its dearest operation, before and after."""
    if start is None or end is None:
        return
    before = next((rank for rank in start.ranks if rank.role == "root"), None)
    after = next((rank for rank in end.ranks if rank.role == "root"), None)
    if before and after:
        times = (before.compute_s, before.sync_s, after.compute_s, after.sync_s)
        known = [value for value in times if value is not None]
        if len(known) == len(times):
            compute_s, sync_s = known[2] - known[0], known[3] - known[1]
            yield StepAttribution(start.model, start.nodes, end.nodes, compute_s, sync_s)
    old, new = _operations(start), _operations(end)
    shared = [name for name in new if name in old]
    if shared:
        dearest = max(shared, key=lambda name: new[name].avg_ms * new[name].operations)
        speeds = (old[dearest].avg_ms, new[dearest].avg_ms)
        yield OpGrowth(start.model, dearest, start.nodes, end.nodes, *speeds)


def _operations(cell: CellRecord) -> dict[str, OpStats]:
    return {stats.op: stats for stats in cell.network.ops} if cell.network else {}


def largest_process(cell: CellRecord | None) -> LargestProcess | None:
    """The larger of root and worker: what a node of this cell must hold."""
    root, worker = ROOT_MEMORY.of(cell), WORKER_MEMORY.of(cell)
    if cell is None or (root is None and worker is None):
        return None
    root_bytes, worker_bytes = (value.value if value else 0.0 for value in (root, worker))
    largest = max(root_bytes, worker_bytes)
    return LargestProcess(cell.nodes, largest, root_bytes >= worker_bytes)


def memory_needs(view: RunView) -> list[MemoryNeed]:
    """What a node must hold, by model and node count."""
    said = []
    for model in view.models:
        found = [largest_process(view.cell(model, nodes)) for nodes in view.node_counts]
        items = tuple(need for need in found if need is not None)
        if items:
            said.append(MemoryNeed(model, items))
    return said


def headlines(view: RunView) -> list[Sentence]:
    """The shortest answer: which node count, and which model."""
    pairs = comparison(view, TOKENS_PER_S)
    speed = [said for said in pairs if isinstance(said, (Ahead, Level, Incomparable))]
    return [*best_nodes(view, TOKENS_PER_S), *speed]


def findings(view: RunView) -> list[Sentence]:
    """The main results, most important first."""
    return [
        *correctness(view)[:1],
        *troubles(view),
        *wire(view),
        *thresholds(view),
        *headlines(view),
        *knees(view),
        *sync_shares(view),
        *memory_needs(view),
        *variance(view),
    ]


def recommendations(view: RunView) -> list[Sentence]:
    """What to do, each with the figure that says so."""
    said: list[Sentence] = [*_repairs(view), *shared_cores(view)]
    for model in view.models:
        said += _node_advice(view, model)
    said += _model_advice(view)
    said += _network_advice(view)
    if view.run.request.repeats < 2:
        said.append(MoreRepeats(view.run.request.repeats))
    return said


def _repairs(view: RunView) -> Iterator[Sentence]:
    for cell in view.ordered():
        if cell.status == "failed":
            yield FixCell(cell.model, cell.nodes)
        elif cell.output is not None and cell.output.status == "different":
            yield FixOutput(cell.model, cell.nodes)
    unchecked = [
        cell
        for cell in view.ordered()
        if cell.status == "ok" and (cell.output is None or cell.output.status == "unchecked")
    ]
    if unchecked:
        yield CheckOutput(len(unchecked))


def _node_advice(view: RunView, model: str) -> Iterator[Sentence]:
    top = best_of_models(view, TOKENS_PER_S).get(model)
    if top is None or not top.value.value:
        return
    failed = verdict_of(view.cell(model, top.nodes)) == "FAIL"
    yield UseNodes(model, top.nodes, top.value.value, top.tied_with, failed)
    for nodes, value in series(view, model, TOKENS_PER_S):
        diff = difference(value, top.value)
        if diff.percent is None or diff.tied:
            continue
        if nodes < top.nodes and diff.first >= NEARLY * diff.base:
            yield FewerNodes(model, nodes, top.nodes, diff.first / diff.base * 100)
        if nodes > top.nodes:
            yield AvoidNodes(model, nodes, top.nodes, diff.percent)


def _model_advice(view: RunView) -> Iterator[Sentence]:
    """The fastest model at its best node count, against the next one."""
    tops = [
        (model, *top)
        for model in view.models
        if (top := max(series(view, model, TOKENS_PER_S), key=_speed, default=None)) is not None
    ]
    ranked = sorted(tops, key=lambda item: -item[2].value)
    if len(ranked) < 2:
        return
    (model, nodes, value), (other, other_nodes, other_value) = ranked[:2]
    if other_value.value > 0 and not difference(value, other_value).tied:
        ratio = value.value / other_value.value
        yield FasterModel(model, nodes, value.value, other, other_nodes, other_value.value, ratio)


def _speed(item: tuple[int, Estimate]) -> float:
    return item[1].value


def _network_advice(view: RunView) -> Iterator[Sentence]:
    for model in view.models:
        shares = series(view, model, SYNC_SHARE)
        worst = max(shares, key=_speed, default=None)
        if worst is not None and worst[1].value >= SYNC_HEAVY:
            yield ReduceSync(model, worst[0], worst[1].value)
    for seen in variance(view):
        yield CheckLinks(seen.model, seen.nodes, seen.p50_ms, seen.p95_ms)
