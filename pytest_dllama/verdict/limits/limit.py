"""Single limits: a fixed one, a tolerated change, and what a person reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_dllama.errors import ToldError
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import Estimate, ThresholdResult

Direction = Literal["max", "min"]
# What two sessions of a pair are compared by, and the relative change for the worse that is
# tolerated of each, unless a thresholds file says otherwise. Steady TPOT varies about half as much
# as TPOT and so finds what slows every token sooner; what slows few of them only TPOT finds.
TOLERANCES: Mapping[str, float] = {
    "ttft_s": 0.15,
    "tpot_ms": 0.05,
    "steady_tpot_ms": 0.05,
    "rct_s": 0.05,
}
# Judged for the sake of another metric: that one's tolerance holds for it, its test fails with it.
FOR_ANOTHER: Mapping[str, str] = {"steady_tpot_ms": "tpot_ms"}


class ThresholdError(ToldError, ValueError):
    """A thresholds file that cannot be used; the message names file, table and key."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One limit of one metric."""

    metric: str
    limit: float
    direction: Direction
    source: str  # where it was set: "thresholds.toml [models.tiny]"

    def check(self, estimate: Estimate | None) -> ThresholdResult:
        """Compare the median over the repeats; a missing value fails."""
        value = estimate.value if estimate else None
        return ThresholdResult(
            metric=self.metric,
            limit=self.limit,
            direction=self.direction,
            value=value,
            n=estimate.n if estimate else None,
            margin_percent=None if value is None else self._margin_percent(value),
            passed=value is not None and self._holds(value),
            source=self.source,
        )

    def _holds(self, value: float) -> bool:
        return value <= self.limit if self.direction == "max" else value >= self.limit

    def _margin_percent(self, value: float) -> float | None:
        """Room left, in percent of the limit; negative beyond it."""
        if self.limit == 0:
            return None
        room = self.limit - value if self.direction == "max" else value - self.limit
        return 100 * room / abs(self.limit)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse than its base a metric may be."""

    metric: str
    worse: float  # relative: 0.05 is 5 %
    source: str


def explain(result: ThresholdResult) -> str:
    """One line for a missed or met threshold.

    >>> t = Threshold("tpot_ms", 50.0, "max", "limits.toml [models.tiny]")
    >>> explain(t.check(Estimate(value=62.5, minimum=60, maximum=63, n=3)))
    'tpot_ms = 62.5 ms, limit <= 50 ms, 25.0 % beyond (limits.toml [models.tiny])'
    """
    unit = METRICS[result.metric].unit.replace("-", "")
    sign = "<=" if result.direction == "max" else ">="
    bound = f"{sign} {result.limit:g} {unit}".rstrip()
    if result.value is None:
        return f"{result.metric} was not measured, limit {bound} ({result.source})"
    value = f"{result.metric} = {result.value:.6g} {unit}".rstrip()
    margin = result.margin_percent
    single = result.n == 1 and METRICS[result.metric].better != "exact"
    spread = "; a single sample, of unknown spread" if single else ""
    if margin is None:
        return f"{value}, limit {bound}{spread} ({result.source})"
    if margin < 0:
        return f"{value}, limit {bound}, {-margin:.1f} % beyond{spread} ({result.source})"
    return f"{value}, limit {bound}, {margin:.1f} % left{spread} ({result.source})"
