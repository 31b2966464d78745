"""A against B: pairs of one metric to a verdict. Method and error rates: docs/statistics.md.

Knows nothing of sessions, processes or files; the mathematics is `stats`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from pytest_dllama.record.verdict import MetricVerdict
from pytest_dllama.stats.decision import decide, theta_of
from pytest_dllama.stats.paired import ln_ratios, paired_effect
from pytest_dllama.stats.power import detectable_change, pairs_to_decide
from pytest_dllama.stats.prior import VariancePrior

# metric -> whether more is better; what two sessions of a pair are compared by.
JUDGED: Mapping[str, bool] = {"ttft_s": False, "tpot_ms": False, "rct_s": False}
TOLERANCES: Mapping[str, float] = {"ttft_s": 0.15, "tpot_ms": 0.05, "rct_s": 0.05}


def judge_metric(
    metric: str,
    base: Sequence[float],
    new: Sequence[float],
    *,
    level: float,
    prior: VariancePrior | None = None,
    tolerance: float | None = None,
) -> MetricVerdict:
    """The verdict of the pairs (base[i], new[i]) so far, in the metric's own unit.

    Args:
        metric: a key of JUDGED.
        base: one value a pair.
        new: likewise.
        level: one-sided, of this look.
        prior: what A/A pairs of this cluster know of the noise; None: the plain paired t.
        tolerance: relative change that is tolerated; the metric's default if None.

    Raises:
        DataError: fewer than two pairs, sides of different length, a value not above 0.
    """
    allowed = TOLERANCES[metric] if tolerance is None else tolerance
    theta = theta_of(allowed)
    effect = paired_effect(ln_ratios(base, new, higher_is_better=JUDGED[metric]), prior, level)
    return MetricVerdict(
        metric=metric,
        status=decide(effect, theta).value,
        tolerance=allowed,
        base=statistics.median(base),
        new=statistics.median(new),
        change=effect.change,
        lower=math.expm1(effect.lower),
        upper=math.expm1(effect.upper),
        pairs=effect.n,
        pair_sd=effect.s_tilde,
        detectable_change=detectable_change(effect.n, effect.s_tilde, theta, prior, level),
        pairs_to_decide=pairs_to_decide(effect, theta, prior),
        is_provisional=effect.is_provisional,
        p_worse=effect.p_worse(theta),
    )
