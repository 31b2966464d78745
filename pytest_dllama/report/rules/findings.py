"""The main results of a run: efficiency, knees, memory needs."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.network import OpStats
from pytest_dllama.report.figures.compare import Best, difference, series
from pytest_dllama.report.figures.quantities import ROOT_MEMORY, TOKENS_PER_S, WORKER_MEMORY
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.comparison import Efficiency
from pytest_dllama.report.sentences.resources import (
    LargestProcess,
    MemoryNeed,
    OpGrowth,
    StepAttribution,
)
from pytest_dllama.report.sentences.scaling import Knee, NoKnee, Plateau


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
            yield StepAttribution(name_of(start), start.nodes, end.nodes, compute_s, sync_s)
    old, new = operations(start), operations(end)
    shared = [name for name in new if name in old]
    if shared:
        dearest = max(shared, key=lambda name: new[name].avg_ms * new[name].operations)
        speeds = (old[dearest].avg_ms, new[dearest].avg_ms)
        yield OpGrowth(name_of(start), dearest, start.nodes, end.nodes, *speeds)


def operations(cell: CellRecord) -> dict[str, OpStats]:
    """The root's collectives by their name."""
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
