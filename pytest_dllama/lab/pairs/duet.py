"""A against B, side by side: sessions as adjacent pairs in random order, judged at declared looks.

Duet benchmarking (Bulej et al. 2020; RMIT, Abedi & Brecht 2017): drift of the machine falls on both
sides of a pair. Pairs come in blocks of two, one AB and one BA; cells are interleaved; both sides'
workers start anew, side by side, for every pair; only undecided cells go on to the next look.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.hosts.base import HostError, Progress
from pytest_dllama.lab.assembly import computing_of, links_of
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.cell import PairedCell, PairTaken
from pytest_dllama.lab.pairs.session_length import lone_cost, settle_requests, warm_cost
from pytest_dllama.lab.pairs.sessions import Sessions
from pytest_dllama.lab.pairs.side import NAMES, Side
from pytest_dllama.lab.progress import Silent, announce_compilation
from pytest_dllama.lab.requests.cluster import ClusterError
from pytest_dllama.lab.requests.failure import RequestFailed
from pytest_dllama.lab.requests.losses import Losses
from pytest_dllama.models.model_files import ModelUnderTest
from pytest_dllama.record.verdict import REQUESTS, CellVerdict, known_requests
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.paired import ln_ratios
from pytest_dllama.stats.prior import VarianceGroup, VariancePrior, groups_of
from pytest_dllama.validity.boards import board_faults
from pytest_dllama.validity.links import link_faults
from pytest_dllama.verdict.attribution import with_attribution
from pytest_dllama.verdict.limits.limit import TOLERANCES
from pytest_dllama.verdict.regression import clock_resolution, is_told, judge_metric
from pytest_dllama.verdict.within_request import gaps_noise

__all__ = ["Duet", "PairTaken", "Rules", "Side"]  # what others compare with

_FAILURES = (ClusterError, RequestFailed, ConfigError, HostError)
Tolerances = Callable[[CellKey], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Rules:
    """How pairs are taken and judged."""

    plan: Plan
    priors: NoisePriors | None  # what is known of this cluster's noise; None: it is not kept
    seed: int  # of the order of sides and cells
    tolerances: Tolerances = lambda key: TOLERANCES  # metric -> relative change, of a cell
    requests: int | None = 1  # of a session; None: as many as decide soonest
    is_calibration: bool = False  # then None: as many as show the noise of fewer too


class Duet:
    """Compares two sides.

    Args:
        sides: base and new.
        models: the models under test, by name.
        keys: the cells.
        rules: how pairs are taken and judged.
        logs: folder of the processes' logs.
        progress: where to tell how far it is.
        on_pair: takes each pair as soon as it is measured.
    """

    def __init__(
        self,
        sides: tuple[Side, Side],
        models: Mapping[str, ModelUnderTest],
        keys: Sequence[CellKey],
        rules: Rules,
        logs: Path,
        progress: Progress | None = None,
        on_pair: Callable[[PairTaken], None] = lambda pair: None,
    ) -> None:
        self._on_pair = on_pair
        self._progress = progress or Silent()
        self.sessions = Sessions(sides, models, logs, self._progress)
        self._sides, self._rules, self._models = sides, rules, models
        self._random = random.Random(rules.seed)
        limit = sides[1].config.retry_lost
        self.cells = [
            PairedCell(key, tuple(rules.tolerances(key)), losses=Losses(limit)) for key in keys
        ]
        self._known: dict[tuple[str, int], VariancePrior | None] = {}

    def run(self) -> tuple[CellVerdict, ...]:
        """Take pairs until every cell is decided or the plan has no look left."""
        new = self._sides[1]
        if new.hosts.kind == "local":
            announce_compilation(new.backend, self._progress)
        for cell in self.cells:
            self._guarded(cell, self._prepare)
        taken = 0
        for look in self._rules.plan.pairs:
            for pair in range(taken, look):
                self._take(pair, look)
            taken = look
            for cell in self._open():
                self._judge(cell)
            if not self._open():
                break
        for cell in self.cells:
            self._check_emulation(cell)
        self._keep_variances()
        return tuple(cell.verdict() for cell in self.cells)

    @property
    def prior_groups(self) -> int:
        """The most variances that any metric's prior rests on."""
        return max((prior.groups for prior in self._known.values() if prior), default=0)

    def _open(self) -> list[PairedCell]:
        return [cell for cell in self.cells if not cell.is_decided]

    # -- sessions ------------------------------------------------------------------------------

    def _guarded(self, cell: PairedCell, work: Callable[[PairedCell], None]) -> None:
        """Do it, again after a loss as often as that is allowed: no cluster outlives its pair."""
        while True:
            try:
                return work(cell)
            except _FAILURES as error:
                if cell.losses.allow(error):
                    reason = cell.losses.reasons[-1]
                    self._progress.settle(f"{cell.key}: lost: {reason}; taking the pair anew")
                    continue
                cell.error = str(error)
                if isinstance(error, RequestFailed):
                    cell.log_files = tuple(error.log_files)
                return None

    def _prepare(self, cell: PairedCell) -> None:
        """Hosts, oracles, and one pair that is not measured: files and kernels get warm."""
        self.sessions.make_ready([cell.key for cell in self.cells], cell.key.nodes)
        self._progress.stage(f"{cell.key}: reference output and warm-up of both sides")
        self._progress.detail("starting")
        self.sessions.prepare_oracles(cell.key, cell.losses.prefix)
        again = self.sessions.run_again(cell.key)
        if cell.key.nodes > 1:
            since_s, name = time.monotonic(), f"{cell.losses.prefix}warmup"
            warmed = self.sessions.at_once(cell.key, self._sides, name)
            took_s = time.monotonic() - since_s
            cost = warm_cost(list(warmed.values()), took_s, run_again=again)
        else:
            cost = lone_cost(self.sessions.oracle_runs(cell.key), run_again=again)
        tolerances = self._rules.tolerances(cell.key)
        priors = self._priors(tolerances)
        asked = self._rules.requests
        if asked is None and self._rules.is_calibration:
            asked = REQUESTS[-1] if again else 1
        settle_requests(cell, asked, cost, priors, tolerances, self._rules.plan)

    def _priors(self, metrics: Iterable[str]) -> dict[int, dict[str, VariancePrior]]:
        """What is known, by number of requests and metric."""
        found: dict[int, dict[str, VariancePrior]] = {}
        for requests in REQUESTS if self._rules.requests is None else ():
            known = {m: prior for m in metrics if (prior := self._prior(m, requests)) is not None}
            found |= {requests: known} if known else {}
        return found

    def _take(self, pair: int, look: int) -> None:
        """One pair of every undecided cell, the cells in random order."""
        cells = self._open()
        self._random.shuffle(cells)
        for cell in cells:
            self._tell_overall(cell)
            self._progress.stage(cell.key.id)
            self._progress.detail(_so_far(cell, self._rules.plan, look))
            self._guarded(cell, lambda cell: self._pair(cell, pair))

    def _tell_overall(self, cell: PairedCell) -> None:
        """Pairs taken, of those that it will be at most: cells that are decided take no more."""
        taken = sum(each.pairs for each in self.cells)
        decided = sum(each.pairs for each in self.cells if each.is_decided)
        at_most = decided + self._rules.plan.pairs[-1] * len(self._open())
        number = f"cell {self.cells.index(cell) + 1} of {len(self.cells)}"
        self._progress.overall(f"pairs {taken}/{at_most}  {number}", taken, at_most)

    def _order(self, pair: int, cell: PairedCell) -> tuple[Side, Side]:
        """Of the two pairs of a block one is AB and one BA; which comes first is drawn."""
        first = cell.sessions[-2].side if pair % 2 else self._random.choice(NAMES)
        if pair % 2:  # the other order than the pair before, whose first session is known
            first = "new" if first == "base" else "base"
        base, new = self._sides
        return (base, new) if first == "base" else (new, base)

    def _pair(self, cell: PairedCell, pair: int) -> None:
        order, since_s = self._order(pair, cell), time.monotonic()
        name = f"{cell.losses.prefix}pair{pair + 1}"
        sessions = self.sessions.pair(cell.key, order, name, cell.requests)
        for side in order:
            session = sessions[side.name]
            outputs = self.sessions.outputs(side, cell.key, session)
            cell.note(side.name, session, outputs, is_first=side is order[0])
        cell.compare_work()
        cell.pairs_s += time.monotonic() - since_s
        self._on_pair(cell.latest())

    # -- judging -------------------------------------------------------------------------------

    def _prior(self, metric: str, requests: int) -> VariancePrior | None:
        if (metric, requests) not in self._known:
            priors = self._rules.priors
            self._known[metric, requests] = priors.prior(metric, requests) if priors else None
        return self._known[metric, requests]

    def _judge(self, cell: PairedCell) -> None:
        """Judge what is open: a metric keeps what an earlier look said, as the plan supposes."""
        decided = {v.metric: v for v in cell.verdicts if v.status != "INCONCLUSIVE"}
        samples = [sample for name in NAMES for sample in cell.samples[name]]
        tolerances = self._rules.tolerances(cell.key)
        priors = {metric: self._prior(metric, cell.requests) for metric in tolerances}
        gaps = gaps_noise(cell.samples["base"], cell.samples["new"], priors, cell.requests)
        cell.is_disturbed = gaps.is_disturbed
        found = []
        for metric, tolerance in tolerances.items():
            if metric in decided:
                found.append(decided[metric])
                continue
            base, new = cell.paired(metric)
            resolution = clock_resolution(metric, samples)
            if len(base) > 1 and is_told(metric, resolution):
                verdict = judge_metric(
                    metric,
                    base,
                    new,
                    level=self._rules.plan.level,
                    prior=priors[metric],
                    tolerance=tolerance,
                    resolution=resolution,
                    gaps=gaps,
                )
                found.append(with_attribution(verdict, *(cell.samples[name] for name in NAMES)))
        cell.verdicts = tuple(found)
        if not found:
            cell.invalid.append("no metric has a value in both sides")

    def _check_emulation(self, cell: PairedCell) -> None:
        """Emulated links and boards must have been kept for both sides, over all their sessions."""
        model = self._models.get(cell.key.model)
        for side in self._sides:
            runs = [run for session in cell.runs[side.name] for run in session.runs]
            found = link_faults(links_of(side.config.topology, cell.key.nodes, runs))
            if model is not None:
                samples = cell.samples[side.name]
                found += board_faults(computing_of(side.config, model, cell.key, samples))
            of = "base: " if side.name == "base" else ""
            cell.invalid += [f"{of}{fault.text}" for fault in found]

    def _keep_variances(self) -> None:
        """Variances of valid cells feed the next run's prior; whatever the effect was.

        Of a machine that is busier than the prior's they would make every later verdict weaker,
        unless its owner calibrates it as it is. What somebody slowed down on purpose varies as they
        made it, not as the machine does.
        """
        found: dict[int, dict[str, list[VarianceGroup]]] = {}
        for cell in self.cells:
            is_known = not cell.is_disturbed or self._rules.is_calibration
            if cell.error is None and not cell.invalid and is_known:
                for requests in known_requests(cell.requests):
                    groups = found.setdefault(requests, {})
                    for metric in cell.judged:
                        base, new = cell.paired(metric, requests)
                        if base and min(*base, *new) > 0:
                            groups.setdefault(metric, []).extend(groups_of(ln_ratios(base, new)))
        slowed = any(side.config.inject for side in self._sides)
        if self._rules.priors and not slowed:
            for requests, groups in found.items():
                self._rules.priors.add(groups, requests)


def _so_far(cell: PairedCell, plan: Plan, look: int) -> str:
    """What the last look said of TPOT, if there was one, and at which look the cell is."""
    known = {verdict.metric: verdict for verdict in cell.verdicts}
    tpot = known.get("tpot_ms")
    change = f"{100 * tpot.change:+.1f} %, " if tpot and tpot.change is not None else ""
    looks = " ".join(f"[{pairs}]" if pairs == look else str(pairs) for pairs in plan.pairs)
    return f"{change}looks {looks}"
