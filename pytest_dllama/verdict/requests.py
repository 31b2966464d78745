"""How many requests a session of a pair runs: as many as decide soonest, by what is known.

A session's value is the median over its requests, and sessions stay the unit of pairs. More
requests make a session dearer and less noisy: by how much less, earlier pairs of this cluster tell,
each number of requests by itself. Derivation: docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_dllama.record.verdict import Prospect
from pytest_dllama.stats.decision import theta_of
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.power import MAX_PAIRS, pairs_needed
from pytest_dllama.stats.prior import VariancePrior

# A pair takes at most so many times what one of single requests takes: three pairs stay a matter of
# seconds, whatever is known of the noise.
DEAREST = 1.6


@dataclass(frozen=True, slots=True)
class PairCost:
    """What a pair takes."""

    one_s: float  # of sessions with one request each, starts included
    further_s: float  # one more request of one side

    def pair_s(self, requests: int) -> float:
        """A pair of sessions with so many requests each."""
        return self.one_s + 2 * (requests - 1) * self.further_s


def prospects(
    priors: Mapping[int, Mapping[str, VariancePrior]],
    tolerances: Mapping[str, float],
    plan: Plan,
    cost: PairCost,
) -> tuple[Prospect, ...]:
    """For each number of requests, how many pairs and seconds "no change" probably takes.

    Pairs are those that tell no change from the tolerated one with 90 % power, of the metric that
    takes most, rounded up to a look of the plan.

    Args:
        priors: by number of requests and metric; one that lacks a metric of the others is left out,
            as is one whose pairs are dear (DEAREST).
        tolerances: relative changes, by metric; metrics of which nothing is known do not count.
        plan: the looks and their level.
        cost: of a pair.
    """
    known = {metric for of_metric in priors.values() for metric in of_metric}
    metrics = [metric for metric in tolerances if metric in known]
    found = []
    for requests, of_metric in sorted(priors.items()):
        if not metrics or not known.intersection(metrics) <= of_metric.keys():
            continue
        if cost.pair_s(requests) > DEAREST * cost.one_s:
            continue
        pairs = max(
            _pairs(theta_of(tolerances[metric]), of_metric[metric], plan) for metric in metrics
        )
        seconds = pairs * cost.pair_s(requests)
        found.append(Prospect(requests=requests, pairs=pairs, seconds=seconds))
    return tuple(found)


def soonest(found: Iterable[Prospect]) -> int:
    """The number of requests that decides soonest; 1 where nothing is known."""
    best = min(found, key=lambda one: (one.seconds, one.requests), default=None)
    return best.requests if best else 1


def _pairs(theta: float, prior: VariancePrior, plan: Plan) -> int:
    needed = pairs_needed(theta, prior.s0, prior, plan.level) or MAX_PAIRS
    return next((look for look in plan.pairs if look >= needed), needed)
