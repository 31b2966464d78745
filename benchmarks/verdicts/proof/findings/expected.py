"""What the simulation says for noise that was measured: the curve to hold the shares against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.verdicts.simulation import run_plan
from pytest_dllama.stats.decision import Decision, theta_of
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.prior import VariancePrior

SIMULATED = 20_000  # verdicts a figure
SEED = 20260401


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares of each verdict, 0 to 1, at the first look and at the end of the plan."""

    first: Mapping[str, float]
    last: Mapping[str, float]


def simulated(
    sd: float,
    change: float,
    tolerance: float,
    prior: VariancePrior | None,
    plan: Plan,
    cells: int = SIMULATED,
) -> Curve:
    """Verdicts of pairs with this change, normal with this standard deviation in ln."""
    rng = np.random.default_rng([SEED, round(sd * 1e6), round(change * 1e6)])
    d = np.log1p(change) + sd * rng.standard_normal((cells, plan.pairs[-1]))
    found = run_plan(d, prior, plan, theta_of(tolerance))  # (looks, cells)
    first, last = (
        {str(d): float((row == d.value).mean()) for d in Decision} for row in found[[0, -1]]
    )
    return Curve(first, last)
