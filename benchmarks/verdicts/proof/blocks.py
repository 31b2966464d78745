"""Pairs to verdicts: disjoint blocks of adjacent pairs, each judged as a user's comparison is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.verdicts.proof.journal import Pair
from pytest_dllama.lab.pairs.side import Name
from pytest_dllama.record.cell import Sample
from pytest_dllama.record.verdict import MetricVerdict, PairStatus, worst
from pytest_dllama.stats.errors import Floats
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.paired import ln_ratios
from pytest_dllama.stats.prior import VariancePrior, fit_prior, groups_of
from pytest_dllama.verdict.limits.limit import TOLERANCES
from pytest_dllama.verdict.regression import clock_resolution, judge_metric
from pytest_dllama.verdict.within_request import GapsNoise, gaps_noise

JUDGED = tuple(TOLERANCES)
PLAN = Plan()
FIRST, LAST = PLAN.pairs[0], PLAN.pairs[-1]
Priors = Mapping[str, VariancePrior | None]


@dataclass(frozen=True, slots=True)
class Block:
    """Adjacent pairs of one cell in one comparison."""

    cell: str
    pairs: tuple[Pair, ...]

    @property
    def id(self) -> str:
        """Unique among the blocks of one size."""
        first = self.pairs[0]
        return f"{first.comparison}-{self.cell}-{first.number}"

    def samples(self, side: Name) -> list[Sample]:
        """One a pair that has kept them."""
        return [pair.samples[side] for pair in self.pairs if side in pair.samples]

    def values(self, side: Name, metric: str) -> list[float]:
        """One value a pair, in the metric's unit; empty if a session lacks it."""
        found = [pair.metrics(side).get(metric) for pair in self.pairs]
        return [value for value in found if value is not None] if None not in found else []


@dataclass(frozen=True, slots=True)
class Judged:
    """What the plan says of a block."""

    status: PairStatus
    pairs: int  # that were looked at
    wall_s: float  # that these took
    metrics: tuple[MetricVerdict, ...]


def blocks(pairs: Sequence[Pair], size: int) -> list[Block]:
    """Disjoint blocks in the order they ran; what is left of a comparison has no block.

    Pairs that do not follow each other (one between was no good) are not of one block.
    """
    found = []
    for run in _runs(pairs):
        whole = len(run) // size * size
        found += [
            Block(run[0].cell, tuple(run[begin : begin + size])) for begin in range(0, whole, size)
        ]
    return found


def _runs(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Pairs of one cell and comparison without a gap."""
    ordered = sorted(enumerate(pairs), key=lambda item: (item[1].cell, item[0]))
    by_cell = [pair for _, pair in ordered]
    numbered = enumerate(by_cell)
    for _, run in groupby(numbered, lambda item: _place(item[1], item[0])):
        yield [pair for _, pair in run]


def _place(pair: Pair, index: int) -> tuple[str, str, int]:
    return pair.cell, pair.comparison, pair.number - index


def judge(
    block: Block, priors: Priors, plan: Plan = PLAN, metrics: Sequence[str] = JUDGED
) -> Judged:
    """Look after the plan's pairs until every metric is decided, as the duet does.

    A metric keeps what the look that decided it said. A block shorter than the plan has the looks
    that it is long enough for. A metric that the sessions do not tell is not judged.
    """
    metrics = [metric for metric in metrics if block.values("base", metric)]
    verdicts: tuple[MetricVerdict, ...] = ()
    decided: dict[str, MetricVerdict] = {}
    used = 0
    for look in (n for n in plan.pairs if n <= len(block.pairs)):
        seen, used = Block(block.cell, block.pairs[:look]), look
        gaps = gaps_noise(seen.samples("base"), seen.samples("new"), priors)
        verdicts = tuple(
            decided.get(metric) or _verdict(seen, metric, priors, plan, gaps) for metric in metrics
        )
        decided |= {v.metric: v for v in verdicts if v.status != "INCONCLUSIVE"}
        if all(verdict.status != "INCONCLUSIVE" for verdict in verdicts):
            break
    return Judged(
        status=worst([verdict.status for verdict in verdicts]),
        pairs=used,
        wall_s=sum(pair.wall_s for pair in block.pairs[:used]),
        metrics=verdicts,
    )


def _verdict(
    block: Block, metric: str, priors: Priors, plan: Plan, gaps: GapsNoise
) -> MetricVerdict:
    samples = [*block.samples("base"), *block.samples("new")]
    return judge_metric(
        metric,
        block.values("base", metric),
        block.values("new", metric),
        level=plan.level,
        prior=priors.get(metric),
        resolution=clock_resolution(metric, samples),
        gaps=gaps,
    )


def differences(pairs: Sequence[Pair], metric: str) -> Floats:
    """ln(new / base) of each pair, shape (pairs,)."""
    whole = Block("", tuple(pairs))
    return ln_ratios(whole.values("base", metric), whole.values("new", metric))


def priors_of(calibration: Sequence[Pair]) -> dict[str, VariancePrior | None]:
    """Each metric's prior from pairs that are judged nowhere; None where they are too few."""
    priors = {}
    for metric in JUDGED:
        told = [run for run in _runs(calibration) if Block("", tuple(run)).values("base", metric)]
        groups = [groups_of(differences(run, metric)) for run in told]
        priors[metric] = fit_prior(*groups)
    return priors
