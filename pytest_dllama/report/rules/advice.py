"""Recommendations, each from the figure that says so."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.record.cell import Estimate
from pytest_dllama.report.figures.compare import difference, series
from pytest_dllama.report.figures.quantities import SYNC_SHARE, TOKENS_PER_S
from pytest_dllama.report.figures.view import RunView, name_of, verdict_of
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.rules.hosts import shared_machines, throttled
from pytest_dllama.report.rules.resources import variance
from pytest_dllama.report.rules.status import shared_cores
from pytest_dllama.report.sentences.answer import FindCommit, TakeMorePairs
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.hosts import CoolHost
from pytest_dllama.report.sentences.scaling import (
    AvoidNodes,
    CheckLinks,
    CheckOutput,
    FasterModel,
    FewerNodes,
    FixCell,
    FixOutput,
    MoreRepeats,
    ReduceSync,
    UseNodes,
)

NEARLY = 0.90  # of the best speed: worth naming a smaller cluster
SAME_SHARE = 0.0005  # printed alike
SYNC_HEAVY = 0.50  # share of sync above which it is the first thing to improve


def recommendations(view: RunView) -> list[Sentence]:
    """What to do, each with the figure that says so."""
    said: list[Sentence] = [*_repairs(view), *_after_verdict(view)]
    said += [CoolHost(host.host) for host in throttled(view)]
    if not (shared_cores(view) or shared_machines(view.run.hosts)):
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
            yield FixCell(name_of(cell), cell.nodes)
        elif cell.output is not None and cell.output.status == "different":
            yield FixOutput(name_of(cell), cell.nodes)
    unchecked = [
        cell
        for cell in view.ordered()
        if cell.status == "ok" and (cell.output is None or cell.output.status == "unchecked")
    ]
    if unchecked:
        yield CheckOutput(len(unchecked))


def _after_verdict(view: RunView) -> Iterator[Sentence]:
    """What answers the questions that the comparison leaves."""
    if view.verdict is None:
        return
    if good := view.verdict.bisected_from:
        yield FindCommit(good, view.verdict.bisecting_tolerance)
    if looks := view.verdict.further_looks:
        yield TakeMorePairs(looks)


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
    """The fastest model against the next one, each at the node count to choose."""
    ranked = sorted(_speeds_to_choose(view), key=lambda item: -item[2].value)
    if len(ranked) < 2:
        return
    (model, nodes, value), (other, other_nodes, other_value) = ranked[:2]
    if other_value.value > 0 and not difference(value, other_value).tied:
        ratio = value.value / other_value.value
        yield FasterModel(model, nodes, value.value, other, other_nodes, other_value.value, ratio)


def _speeds_to_choose(view: RunView) -> Iterator[tuple[str, int, Estimate]]:
    """Of each model its best node count, or the only one that it was measured on."""
    tops = best_of_models(view, TOKENS_PER_S)
    for model in view.models:
        if model in tops:
            yield model, tops[model].nodes, tops[model].value
        elif found := series(view, model, TOKENS_PER_S):
            yield model, *found[0]


def _speed(item: tuple[int, Estimate]) -> float:
    return item[1].value


def _sync_advice(view: RunView) -> Iterator[Sentence]:
    """One sentence a model and node count, however many of its workloads it is to be said of."""
    found: dict[tuple[str, int], list[tuple[str, float]]] = {}
    for name in view.models:
        worst = max(series(view, name, SYNC_SHARE), key=_speed, default=None)
        if worst is not None and worst[1].value >= SYNC_HEAVY:
            cell = view.cell(name, worst[0])
            model = cell.model if cell is not None else name
            found.setdefault((model, worst[0]), []).append((name, worst[1].value))
    for (model, nodes), workloads in found.items():
        shares = [share for _, share in workloads]
        if len(workloads) == 1:
            yield ReduceSync(workloads[0][0], nodes, shares[0])
        else:
            upto = max(shares) if max(shares) - min(shares) > SAME_SHARE else None
            yield ReduceSync(model, nodes, min(shares), len(shares), upto)


def _network_advice(view: RunView) -> Iterator[Sentence]:
    """Only where the waiting is the network's: on shared cores it is the scheduler's."""
    if shared_cores(view):
        return
    yield from _sync_advice(view)
    if view.run.request.host_kind in ("local", "log"):  # no link to check; percentiles of whatever
        return
    for seen in variance(view):
        yield CheckLinks(seen.model, seen.nodes, seen.p50_ms, seen.p95_ms)
