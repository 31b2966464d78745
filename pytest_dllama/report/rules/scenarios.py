"""Which model and node count suits which case, and the list to go through: rules with figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.charts import finite
from pytest_dllama.report.figures.compare import difference, series
from pytest_dllama.report.figures.quantities import BYTES_PER_TOKEN, SYNC_SHARE, TOKENS_PER_S, TPOT
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.rules.advice import NEARLY, SYNC_HEAVY
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.rules.findings import largest_process, operations
from pytest_dllama.report.rules.hosts import throttled
from pytest_dllama.report.rules.resources import root_against_worker, variance
from pytest_dllama.report.rules.status import shared_cores
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.choice import (
    CheckBalance,
    CheckMemory,
    CheckNetwork,
    CheckNodes,
    CheckThreads,
    LargerModel,
    LighterModel,
    LinkUse,
    SyncGrows,
    WatchLatency,
)
from pytest_dllama.report.sentences.hosts import CoolHost
from pytest_dllama.report.sentences.scaling import CheckLinks

WORTH_NAMING = 1.10  # times: smaller advantages choose no model
LESS_MEMORY = 0.80  # of the best node count's memory: worth more nodes where memory is scarce
UNBALANCED = 50.0  # percent that a root's memory lies above a worker's

Suits = Literal["best", "scarce", "memory", "none", "shared"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One model on one node count: how near its best speed, in how much memory, for what."""

    nodes: int
    model: str
    tokens_per_s: float
    of_best: float  # share of the model's best speed
    need_bytes: float | None
    suits: Suits


def all_scenarios(view: RunView) -> list[Scenario]:
    """By node count, then by model."""
    found = []
    tops = best_of_models(view, TOKENS_PER_S)
    for nodes in view.node_counts:
        for model, top in tops.items():
            value = dict(series(view, model, TOKENS_PER_S)).get(nodes)
            if value is None or not top.value.value:
                continue
            of_best = value.value / top.value.value
            need = largest_process(view.cell(model, nodes))
            at_best = largest_process(view.cell(model, top.nodes))
            suits: Suits = "none"
            if shared_cores(view):
                suits = "shared"
            elif nodes == top.nodes or difference(value, top.value).tied:
                suits = "best"
            elif nodes < top.nodes and of_best >= NEARLY:
                suits = "scarce"
            elif need and at_best and need.peak_bytes < LESS_MEMORY * at_best.peak_bytes:
                suits = "memory"
            peak = need.peak_bytes if need else None
            found.append(Scenario(nodes, model, value.value, of_best, peak, suits))
    return found


def model_choice(view: RunView) -> list[Sentence]:
    """Of every two models, what the lighter saves, and what the larger costs."""
    tops = best_of_models(view, TOKENS_PER_S)
    cells = {model: view.cell(model, top.nodes) for model, top in tops.items()}
    said: list[Sentence] = []
    for model, other in permutations(cells, 2):
        mine, theirs = cells[model], cells[other]
        if mine is not None and theirs is not None:
            said += _lighter(model, mine, other, theirs)
            said += _larger(view, mine, theirs, (model, other))
    return said


def _lighter(model: str, mine: CellRecord, other: str, theirs: CellRecord) -> Iterator[Sentence]:
    speeds = TOKENS_PER_S.of(mine), TOKENS_PER_S.of(theirs)
    speed = speeds[0].value / speeds[1].value if speeds[0] and speeds[1] else None
    needs = largest_process(mine), largest_process(theirs)
    memory = _ratio(*(need.peak_bytes if need else None for need in needs))
    sent = BYTES_PER_TOKEN.of(mine), BYTES_PER_TOKEN.of(theirs)
    traffic = _ratio(*(value.value if value else None for value in sent))
    faster = speed if speed is not None and speed >= WORTH_NAMING else None
    less_memory = memory if memory is not None and memory <= 1 / WORTH_NAMING else None
    less_traffic = traffic if traffic is not None and traffic <= 1 / WORTH_NAMING else None
    if faster or less_memory or less_traffic:
        yield LighterModel(model, other, faster, less_memory, less_traffic)


def _ratio(first: float | None, other: float | None) -> float | None:
    return finite(first / other) if first and other else None


def _larger(
    view: RunView, mine: CellRecord, theirs: CellRecord, names: tuple[str, str]
) -> Iterator[Sentence]:
    sizes = {record.name: record.size_bytes for record in view.run.models}
    size = _ratio(sizes.get(mine.model), sizes.get(theirs.model))
    times = TPOT.of(mine), TPOT.of(theirs)
    time = _ratio(*(value.value if value else None for value in times))
    if size is not None and time is not None and size >= WORTH_NAMING and time > 1:
        yield LargerModel(*names, size, time)


def network_advice(view: RunView) -> list[Sentence]:
    """How exchange grows with the nodes, what a link carries, and which figure to watch."""
    if shared_cores(view):
        return []
    said: list[Sentence] = []
    for model in view.models:
        shares = series(view, model, SYNC_SHARE)
        if len(shares) > 1 and shares[-1][1].value > shares[0][1].value:
            (start, low), (end, high) = shares[0], shares[-1]
            said.append(SyncGrows(model, start, end, low.value, high.value))
    worst = _largest_traffic(view)
    said += [*_link_use(view, worst), *_dearest(worst)] if worst else []
    return said


def _largest_traffic(view: RunView) -> CellRecord | None:
    cells = [cell for cell in view.ordered() if cell.network is not None]
    return max(cells, key=lambda c: c.network.total_bytes if c.network else 0, default=None)


def _link_use(view: RunView, cell: CellRecord) -> Iterator[Sentence]:
    rates = [rate for pair in view.run.pairs if (rate := finite(pair.bandwidth_mbps))]
    sent, tpot = BYTES_PER_TOKEN.of(cell), TPOT.of(cell)
    if rates and min(rates) > 0 and sent and tpot:
        transfer_ms = sent.value * 8 / 1e3 / min(rates)
        yield LinkUse(cell.id, sent.value, min(rates), transfer_ms, tpot.value)


def _dearest(cell: CellRecord) -> Iterator[Sentence]:
    ops = operations(cell).values()
    known = [op for op in ops if finite(op.avg_ms) is not None]
    if known:
        op = max(known, key=lambda op: op.avg_ms * op.operations)
        yield WatchLatency(cell.id, op.op, op.avg_ms, finite(op.p95_ms))


def checklist(view: RunView) -> dict[str, list[Sentence]]:
    """Label -> what to go through: hardware, software, configuration."""
    tops = best_of_models(view, TOKENS_PER_S)
    needs = {m: largest_process(view.cell(m, top.nodes)) for m, top in tops.items()}
    hardware: list[Sentence] = [
        CheckMemory(model, need.nodes, need.peak_bytes, need.on_root)
        for model, need in needs.items()
        if need is not None
    ]
    if view.run.request.nthreads:
        hardware.append(CheckThreads(view.run.request.nthreads))
    hardware += [CoolHost(host.host) for host in throttled(view)]
    if shared_cores(view):
        return {"hardware": hardware, "software": [], "configuration": []}
    software: list[Sentence] = [
        CheckNetwork(cell.id, value.value)
        for cell in view.ordered()
        if (value := SYNC_SHARE.of(cell)) and value.value >= SYNC_HEAVY
    ]
    if view.run.request.host_kind not in ("local", "log"):
        software += [CheckLinks(s.model, s.nodes, s.p50_ms, s.p95_ms) for s in variance(view)]
    settings: list[Sentence] = [CheckNodes(model, top.nodes) for model, top in tops.items()]
    for cell in view.ordered():
        balance = root_against_worker(cell)
        if balance is not None and balance.percent >= UNBALANCED:
            settings.append(CheckBalance(balance.model, balance.nodes, balance.percent))
    return {"hardware": hardware, "software": software, "configuration": settings}
