"""`python -m benchmarks.verdicts.simulation`: how often verdicts are wrong, simulated.

Prints tables of docs/statistics.md as Markdown. Uses the functions that judge real runs, on drawn
numbers: nothing is measured here.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from benchmarks.table import markdown_table
from pytest_dllama.stats.decision import Decision, decisions, theta_of
from pytest_dllama.stats.errors import Floats
from pytest_dllama.stats.intervals import clopper_pearson
from pytest_dllama.stats.looks import DECLARED, TOTAL_LEVEL, Plan
from pytest_dllama.stats.paired import bounds, moderated
from pytest_dllama.stats.prior import VariancePrior

D0 = 8.0
TOLERANCE = 0.05
SEED = 20260401

Rng = np.random.Generator
Outcome = np.ndarray  # of Decision values, (looks, cells)


def prior_of(sd: float, d0: float = D0) -> VariancePrior:
    """A prior from a long calibration."""
    return VariancePrior(d0, sd * sd, groups=100, total_df=400.0)


def drawn_sd(rng: Rng, cells: int, sd: float, d0: float) -> Floats:
    """Each cell's true standard deviation: sigma^2 = d0 s0^2 / chi^2(d0), as the prior says."""
    return np.asarray(sd * np.sqrt(d0 / rng.chisquare(d0, cells)))


def draw_pairs(rng: Rng, cells: int, sd: float, change: float, t_df: float | None) -> Floats:
    """Differences of pairs, (cells, pairs of the last look); normal, or a t of that variance."""
    shape = (cells, DECLARED[-1])
    noise = rng.standard_normal(shape)
    if t_df is not None:
        noise = rng.standard_t(t_df, shape) / math.sqrt(t_df / (t_df - 2))
    return np.asarray(math.log1p(change) + drawn_sd(rng, cells, sd, D0)[:, np.newaxis] * noise)


def run_plan(d: Floats, prior: VariancePrior | None, plan: Plan, theta: float) -> Outcome:
    """The standing verdict after each look: what is decided stays."""
    standing: list[np.ndarray] = []
    for n in plan.pairs:
        seen = d[:, :n]
        s_squared, df = moderated(seen.var(axis=1, ddof=1), n - 1, prior)
        verdicts = decisions(*bounds(seen.mean(axis=1), s_squared, n, df, plan.level), theta)
        if standing:
            undecided = standing[-1] == Decision.INCONCLUSIVE.value
            verdicts = np.where(undecided, verdicts, standing[-1])
        standing.append(verdicts)
    return np.array(standing)


def operating_row(sd: float, cells: int, t_df: float | None = None) -> list[str]:
    """One line of the operating table."""
    rng = np.random.default_rng([SEED, round(sd * 1e4)])
    plan, theta, prior = Plan(), theta_of(TOLERANCE), prior_of(sd)

    def outcome(change: float) -> Outcome:
        return run_plan(draw_pairs(rng, cells, sd, change, t_df), prior, plan, theta)

    same, ten, limit = outcome(0.0), outcome(0.10), outcome(TOLERANCE)
    good = np.isin(same, [Decision.PASS.value, Decision.IMPROVED.value])
    return [
        f"{sd * 100:.1f} %",
        first_and_last(good),
        first_and_last(same == Decision.REGRESSED.value, 2),
        first_and_last(ten == Decision.REGRESSED.value),
        first_and_last(limit == Decision.REGRESSED.value, 1),
    ]


def first_and_last(hits: np.ndarray, digits: int = 0) -> str:
    """Share at the first look and at the end of the plan, from (looks, cells).

    >>> first_and_last(np.array([[True, False], [True, True]]))
    '50 / 100 %'
    """
    first, last = 100 * hits[0].mean(), 100 * hits[-1].mean()
    return f"{first:.{digits}f} / {last:.{digits}f} %"


def one_look_rows(cells: int, sd: float = 0.028, n: int = 3) -> Iterator[list[str]]:
    """+10 % found, and +5 % (the limit) called REGRESSED, by one look at three pairs.

    Drift moves both sessions of a pair alike, here by as much as a pair scatters: pairs do not feel
    it, unpaired values do.
    """
    rng = np.random.default_rng([SEED, 2])
    theta, level = theta_of(TOLERANCE), TOTAL_LEVEL
    sides = drawn_sd(rng, cells, sd, D0)[:, np.newaxis] / math.sqrt(2)
    base, new = (sides * rng.standard_normal((cells, n)) for _ in range(2))
    d = new - base
    for name, prior in (("moderated paired t", prior_of(sd)), ("plain paired t", None)):
        s_squared, df = moderated(d.var(axis=1, ddof=1), n - 1, prior)
        lower, _ = bounds(d.mean(axis=1), s_squared, n, df, level)
        yield [
            name,
            *(f"{100 * (lower + math.log1p(c) > theta).mean():.1f} %" for c in (0.1, 0.05)),
        ]
    drift = sd * rng.standard_normal((cells, 2, n))  # nights, or hours, of their own
    for name, size in (("Welch's t, no drift", 0.0), ("Welch's t, with drift", 1.0)):
        one, two = base + size * drift[:, 0], new + size * drift[:, 1]
        p = [
            stats.ttest_ind(
                two + math.log1p(c) - theta, one, axis=1, equal_var=False, alternative="greater"
            ).pvalue
            for c in (0.1, 0.05)
        ]
        yield [name, *(f"{100 * (values < level).mean():.1f} %" for values in p)]


def level_rows(cells: int) -> Iterator[list[str]]:
    """What the declared level a look adds up to, exactly at the limit, by kind of variance."""
    plan = Plan()
    rng = np.random.default_rng([SEED, 3])
    for name, d0 in (("known", math.inf), ("d0 = 8", D0), ("no prior (provisional)", None)):
        sd = 1.0 if d0 != D0 else drawn_sd(rng, cells, 1.0, D0)[:, np.newaxis]
        d = sd * rng.standard_normal((cells, DECLARED[-1]))
        prior = None if d0 is None else VariancePrior(d0, 1.0, 1000, 1e9)
        found = run_plan(d, prior, plan, 0.0)[-1] == Decision.REGRESSED.value
        yield [name, share_text(int(found.sum()), cells)]


def share_text(count: int, trials: int) -> str:
    """A share in percent with its Clopper-Pearson interval.

    >>> share_text(1, 100)
    '1.00 % (0.03 to 5.45)'
    """
    found = clopper_pearson(count, trials)
    return f"{100 * found.value:.2f} % ({100 * found.lower:.2f} to {100 * found.upper:.2f})"


def report(cells: int) -> Iterator[str]:
    """The tables, one after the other."""
    head = ["sd of a pair (ln)", "no change: PASS", "no change: REGRESSED", "+10 %: REGRESSED"]
    head.append("+5 %, the limit: REGRESSED")
    sds = (0.015, 0.02, 0.028, 0.045)
    yield f"### Verdicts: at 3 pairs / at the end of 3, 5, 7, 10 ({cells} cells a figure, d0 = 8)"
    yield markdown_table(head, (operating_row(sd, cells) for sd in sds))
    yield "### The same with noise of a t with 4 degrees of freedom"
    yield markdown_table(head, (operating_row(sd, cells, t_df=4.0) for sd in sds))
    yield f"### One look at three pairs, sd 2.8 %, one-sided 0.05 ({cells} cells)"
    yield markdown_table(
        ["test", "+10 % found", "+5 %, the limit, called worse"], one_look_rows(cells)
    )
    yield f"### What {Plan().level:g} a look adds up to, at the limit ({4 * cells} cells)"
    yield markdown_table(["variance of a pair", "REGRESSED by any look"], level_rows(4 * cells))


def main() -> None:
    """Parse the options, simulate, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts.simulation", description=__doc__
    )
    parser.add_argument("--cells", type=int, default=50_000, help="a figure (default: 50000)")
    options = parser.parse_args()
    for block in report(options.cells):
        print(block, end="\n\n", flush=True)


if __name__ == "__main__":
    main()
