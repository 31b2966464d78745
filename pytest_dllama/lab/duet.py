"""A against B, side by side: sessions as adjacent pairs in random order, judged at declared looks.

Duet benchmarking (Bulej et al. 2020; RMIT, Abedi & Brecht 2017): drift of the machine falls on both
sides of a pair. Pairs come in blocks of two, one AB and one BA; cells are interleaved; both sides'
workers start anew, side by side, for every pair; only undecided cells go on to the next look.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_dllama.backends.base import Backend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.events.stream import Event
from pytest_dllama.history.priors import NoisePriors
from pytest_dllama.hosts.base import HostError, Hosts
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.cluster import Cluster, ClusterError
from pytest_dllama.lab.progress import Silent
from pytest_dllama.lab.runner import RequestFailed, RequestRun, engine_request, run_request
from pytest_dllama.metrics.catalog import cell_metrics
from pytest_dllama.metrics.samples import sample_of
from pytest_dllama.models.under_test import ModelUnderTest
from pytest_dllama.record.cell import OutputRecord, Sample
from pytest_dllama.record.verdict import CellVerdict, ExactChange, MetricVerdict, SideSession, worst
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.paired import ln_ratios
from pytest_dllama.stats.prior import VarianceGroup, VariancePrior, groups_of
from pytest_dllama.validity.faults import faults
from pytest_dllama.validity.output import compare_output, oracle_output
from pytest_dllama.verdict.regression import JUDGED, judge_metric

Name = Literal["base", "new"]
EXACT = ("bytes_per_token",)
_FAILURES = (ClusterError, RequestFailed, ConfigError, HostError)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: Name
    label: str  # for people: a revision, a binary, an option
    backend: Backend
    config: LabConfig


@dataclass(frozen=True, slots=True)
class PairTaken:
    """One measured pair, for whoever keeps every single one."""

    key: CellKey
    sessions: tuple[SideSession, SideSession]  # in the order they ran
    samples: Mapping[Name, Sample]
    invalid: tuple[str, ...]  # why the cell is not to be believed, this pair included


@dataclass(slots=True)
class _Cell:
    """What is known of a cell so far."""

    key: CellKey
    sessions: list[SideSession] = field(default_factory=list)
    outputs: dict[Name, tuple[int, ...]] = field(default_factory=dict)
    work: set[tuple[int | None, int]] = field(default_factory=set)  # input and output tokens
    invalid: list[str] = field(default_factory=list)
    error: str | None = None
    exact: dict[str, dict[Name, float]] = field(default_factory=dict)
    verdicts: tuple[MetricVerdict, ...] = ()

    @property
    def is_decided(self) -> bool:
        """Whether more pairs would change nothing."""
        return (
            self.error is not None
            or bool(self.invalid)
            or (bool(self.verdicts) and all(v.status != "INCONCLUSIVE" for v in self.verdicts))
        )

    def values(self, side: Name, metric: str) -> list[float]:
        """One value a pair."""
        found = (s.metrics.get(metric) for s in self.sessions if s.side == side)
        return [value for value in found if value is not None]


class Duet:
    """Compares two sides on this machine's hosts.

    Args:
        sides: base and new.
        models: the models under test, by name.
        keys: the cells.
        plan: after how many pairs to look.
        priors: what is known of this cluster's noise.
        hosts: where the ranks run.
        seed: of the order of sides and cells.
        logs: folder of the processes' logs.
        tell: takes a line when something begins.
        on_pair: takes each pair as soon as it is measured.
    """

    def __init__(
        self,
        sides: tuple[Side, Side],
        models: Mapping[str, ModelUnderTest],
        keys: Sequence[CellKey],
        plan: Plan,
        priors: NoisePriors,
        hosts: Hosts,
        seed: int,
        logs: Path,
        tell: Callable[[str], None],
        on_pair: Callable[[PairTaken], None] = lambda pair: None,
    ) -> None:
        self._on_pair = on_pair
        self._sides, self._models, self._plan = sides, models, plan
        self._priors, self._hosts, self._logs, self._tell = priors, hosts, logs, tell
        self._random = random.Random(seed)
        self._cells = [_Cell(key) for key in keys]
        self._oracles: dict[tuple[Name, str], RequestRun] = {}
        self._known: dict[str, VariancePrior | None] = {}

    def run(self) -> tuple[CellVerdict, ...]:
        """Take pairs until every cell is decided or the plan has no look left."""
        for cell in self._cells:
            self._guarded(cell, self._prepare)
        taken = 0
        for look in self._plan.pairs:
            for pair in range(taken, look):
                self._take(pair, look)
            taken = look
            for cell in self._open():
                self._judge(cell)
            if not self._open():
                break
        self._keep_variances()
        return tuple(map(self._verdict, self._cells))

    @property
    def prior_groups(self) -> int:
        """The most variances that any metric's prior rests on."""
        return max((prior.groups for prior in self._known.values() if prior), default=0)

    def _open(self) -> list[_Cell]:
        return [cell for cell in self._cells if not cell.is_decided]

    # -- sessions ------------------------------------------------------------------------------

    def _guarded(self, cell: _Cell, work: Callable[[_Cell], None]) -> None:
        try:
            work(cell)
        except _FAILURES as error:
            cell.error = str(error)

    def _prepare(self, cell: _Cell) -> None:
        """Each side's oracle, and one pair that is not measured: files and kernels get warm."""
        model = cell.key.model
        for side in self._sides:
            if (side.name, model) not in self._oracles:
                self._tell(f"{model}: reference output of {side.name} ({side.label})")
                alone = CellKey(model, 1)
                self._oracles[side.name, model] = self._sessions(alone, (side,), "oracle")[
                    side.name
                ]
        if cell.key.nodes > 1:
            self._tell(f"{cell.key}: warm-up pair")
            self._sessions(cell.key, self._sides, "warmup")

    def _take(self, pair: int, look: int) -> None:
        """One pair of every undecided cell, the cells in random order."""
        cells = self._open()
        self._random.shuffle(cells)
        for cell in cells:
            self._tell(f"{cell.key}: pair {pair + 1} of {look}, {len(cells)} cells undecided")
            self._guarded(cell, lambda cell: self._pair(cell, pair))

    def _order(self, pair: int, cell: _Cell) -> tuple[Side, Side]:
        """Of the two pairs of a block one is AB and one BA; which comes first is drawn."""
        first = cell.sessions[-2].side if pair % 2 else self._random.choice(("base", "new"))
        if pair % 2:  # the other order than the pair before, whose first session is known
            first = "new" if first == "base" else "base"
        base, new = self._sides
        return (base, new) if first == "base" else (new, base)

    def _pair(self, cell: _Cell, pair: int) -> None:
        order = self._order(pair, cell)
        runs = self._sessions(cell.key, order, f"pair{pair + 1}")
        samples = {
            side.name: self._note(cell, side, runs[side.name], pair, is_first=side is order[0])
            for side in order
        }
        if len(cell.work) > 1:
            cell.invalid.append(
                f"the sides did different work: {_listed(cell.work)} tokens in, out"
            )
        first, second = cell.sessions[-2:]
        self._on_pair(PairTaken(cell.key, (first, second), samples, tuple(cell.invalid)))

    def _sessions(self, key: CellKey, order: Sequence[Side], name: str) -> dict[Name, RequestRun]:
        """One request a side, in this order; all workers start at once and live for this only."""
        model = self._models[key.model]
        hosts = self._hosts.prepare(key.nodes, key.nodes, [model.model_file], Silent())
        clusters = {
            side.name: Cluster(
                hosts,
                side.backend,
                self._logs / f"{key.id}.{name}.{side.name}",
                side.config.nthreads,
            )
            for side in order
        }
        try:
            with ThreadPoolExecutor(len(order)) as pool:
                list(pool.map(lambda cluster: cluster.ensure(key.nodes), clusters.values()))
            return {
                side.name: run_request(
                    clusters[side.name],
                    engine_request(side.config, model),
                    key.nodes,
                    "root",
                    _ignore,
                )
                for side in order
            }
        finally:
            for cluster in clusters.values():
                cluster.stop()

    def _note(
        self, cell: _Cell, side: Side, run: RequestRun, pair: int, *, is_first: bool
    ) -> Sample:
        """Keep what one session of a pair told."""
        sample = sample_of(run.trace)
        figures = {
            name: estimate.value for name, estimate in cell_metrics([run.trace], [sample]).items()
        }
        for metric in EXACT:
            if metric in figures:
                cell.exact.setdefault(metric, {})[side.name] = figures[metric]
        judged = {metric: figures.get(metric) for metric in JUDGED}
        cell.sessions.append(
            SideSession(pair=pair + 1, side=side.name, is_first=is_first, metrics=judged)
        )
        cell.outputs[side.name] = tuple(run.trace.token_ids)
        cell.work.add((sample.n_input_tokens, sample.n_output_tokens))
        found = faults([run.trace], self._output(side, cell.key, run))
        cell.invalid += [f"{side.name}, pair {pair + 1}: {fault.text}" for fault in found]
        return sample

    def _output(self, side: Side, key: CellKey, run: RequestRun) -> OutputRecord:
        """Each side against its own oracle."""
        oracle = self._oracles[side.name, key.model]
        if key.nodes == 1 and oracle.trace.token_ids == run.trace.token_ids:
            return oracle_output(run.trace)
        return compare_output(
            oracle.trace,
            run.trace,
            buffer_float_type=side.config.buffer_float_type,
            sync_mode=side.config.sync_mode,
            temperature=side.config.temperature,
        )

    # -- judging -------------------------------------------------------------------------------

    def _prior(self, metric: str) -> VariancePrior | None:
        if metric not in self._known:
            self._known[metric] = self._priors.prior(metric)
        return self._known[metric]

    def _judge(self, cell: _Cell) -> None:
        cell.verdicts = tuple(
            judge_metric(
                metric,
                cell.values("base", metric),
                cell.values("new", metric),
                level=self._plan.level,
                prior=self._prior(metric),
            )
            for metric in JUDGED
            if len(cell.values("base", metric)) > 1
            and len(cell.values("base", metric)) == len(cell.values("new", metric))
        )
        if not cell.verdicts:
            cell.invalid.append("no metric has a value in both sides")

    def _verdict(self, cell: _Cell) -> CellVerdict:
        changes = tuple(
            ExactChange(metric=metric, base=both["base"], new=both["new"])
            for metric, both in cell.exact.items()
            if len(both) == len(self._sides) and both["base"] != both["new"]
        )
        outputs = cell.outputs
        same = outputs["base"] == outputs["new"] if len(outputs) == len(self._sides) else None
        if cell.error is not None:
            status, reasons = "ERROR", [cell.error]
        elif cell.invalid:
            status, reasons = "INVALID", list(dict.fromkeys(cell.invalid))
        else:
            status, reasons = worst([verdict.status for verdict in cell.verdicts]), []
        return CellVerdict.model_validate(
            {
                "model": cell.key.model,
                "nodes": cell.key.nodes,
                "status": status,
                "reasons": reasons,
                "metrics": cell.verdicts,
                "exact_changes": changes,
                "same_tokens": same,
                "sessions": cell.sessions,
            }
        )

    def _keep_variances(self) -> None:
        """Variances of valid cells feed the next run's prior; whatever the effect was."""
        groups: dict[str, list[VarianceGroup]] = {}
        for cell in self._cells:
            if cell.error is None and not cell.invalid:
                for metric in JUDGED:
                    base, new = cell.values("base", metric), cell.values("new", metric)
                    if base and len(base) == len(new):
                        groups.setdefault(metric, []).extend(groups_of(ln_ratios(base, new)))
        self._priors.add(groups)


def _ignore(event: Event) -> None:
    """Nobody watches a session of a pair."""


def _listed(work: set[tuple[int | None, int]]) -> list[tuple[int | None, int]]:
    return sorted(work, key=lambda item: (item[0] or 0, item[1]))
