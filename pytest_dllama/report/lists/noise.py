"""What a calibration says: the noise of pairs, and what so many of them find and cost."""

from __future__ import annotations

import math
from typing import Any

from pytest_dllama.history.noise.calibrations import Calibration, CellNoise, MetricNoise
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.history.store import RunStore
from pytest_dllama.report.lists.table import Table
from pytest_dllama.report.text.numbers import decimals_for, number, plain
from pytest_dllama.stats.decision import theta_of
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.noise import SHOWN_PAIRS, pair_noise
from pytest_dllama.stats.prior import MIN_GROUPS, missing_groups


def noise_lines(store: RunStore, calibration: Calibration, form: str = "text") -> list[str]:
    """A calibration for people, or as data."""
    table = _table(store, calibration)
    if form != "text":
        return [table.render(form)]
    lines = [
        f"{store.fingerprint}, {calibration.engine}, {calibration.created_utc}: "
        f"{calibration.pairs} A/A pairs a cell, {calibration.steps or '-'} steps, "
        f"{calibration.wall_s:.0f} s, {calibration.pair_s:.1f} s a pair",
        table.render("text"),
        *(f"left out: {text}" for text in calibration.left_out),
    ]
    return [*lines, *_prior_lines(store, calibration)]


def _prior_lines(store: RunStore, calibration: Calibration) -> list[str]:
    """How far the cluster's prior has come."""
    metrics = dict.fromkeys(m.metric for cell in calibration.cells for m in cell.metrics)
    priors = NoisePriors(store.cluster.parent, store.cluster.name)
    numbers = sorted({m.requests for cell in calibration.cells for m in cell.metrics})
    lines = []
    for metric in metrics:
        unknown: dict[int, list[str]] = {}  # missing groups -> of how many requests
        for requests in numbers:
            prior = priors.prior(metric, requests)
            several = f" at {requests} requests a session" if requests > 1 else ""
            if prior is not None:
                d0 = "no limit" if math.isinf(prior.d0) else f"{prior.d0:.1f}"
                lines.append(
                    f"prior of {metric}{several}: a pair varies by {prior.s0:.1%}, worth {d0} "
                    f"degrees of freedom, from {prior.groups} groups of pairs"
                )
            elif missing := missing_groups(priors.groups(metric, requests)):
                unknown.setdefault(missing, []).append(str(requests))
        for missing, those in unknown.items():
            of = f" at {', '.join(those)} requests a session" if those != ["1"] else ""
            lines.append(
                f"no prior of {metric} yet{of}: {missing} of {MIN_GROUPS} groups of pairs are "
                "missing; verdicts are provisional until then"
            )
    return lines


def _table(store: RunStore, calibration: Calibration) -> Table:
    head = ["cell", "metric", "requests", "median", "sd of a pair", "95 %", "lag-1"]
    head += [f"{n} pairs find" for n in SHOWN_PAIRS] + [f"{n} pairs cost s" for n in SHOWN_PAIRS]
    priors = NoisePriors(store.cluster.parent, store.cluster.name)
    data = [
        _row(cell, metric, calibration, priors)
        for cell in calibration.cells
        for metric in cell.metrics
    ]
    rows = [
        [
            row["cell"],
            row["metric"],
            str(row["requests"]),
            plain(row["median"], decimals_for(row["median"], 2)),
            f"{row['pair_sd']:.1%}",
            f"{row['pair_sd_lower']:.1%}..{row['pair_sd_upper']:.1%}",
            number(row["lag1"], 2),
            *(f"+{row[f'detectable_{n}']:.1%}" for n in SHOWN_PAIRS),
            *(f"{row[f'cost_{n}_s']:.0f}" for n in SHOWN_PAIRS),
        ]
        for row in data
    ]
    return Table(head, rows, data, left=2)


def _row(
    cell: CellNoise, metric: MetricNoise, calibration: Calibration, priors: NoisePriors
) -> dict[str, Any]:
    prior = priors.prior(metric.metric, metric.requests)
    theta = theta_of(metric.tolerance)
    cost_s = cell.cost_s(metric.requests)
    pair_s = calibration.pair_s if cost_s is None else cost_s
    found = pair_noise(metric.differences, theta, prior, Plan().level)
    return {
        "cell": cell.id,
        "metric": metric.metric,
        "requests": metric.requests,
        "median": metric.median,
        "pairs": found.pairs,
        "tolerance": metric.tolerance,
        "pair_sd": found.sd.value,
        "pair_sd_lower": found.sd.lower,
        "pair_sd_upper": found.sd.upper,
        "lag1": found.lag1,
        **{f"detectable_{n}": change for n, change in found.detectable.items()},
        **{f"cost_{n}_s": n * pair_s for n in SHOWN_PAIRS},
    }
