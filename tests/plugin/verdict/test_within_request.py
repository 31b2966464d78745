"""Tokens of a request that jump about say that three pairs which agree do so by chance."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from pytest_dllama.record.cell import Sample
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.verdict.regression import DISTURBED, DISTURBED_LEVEL, judge_metric
from pytest_dllama.verdict.within_request import FEWEST, gaps_noise, gaps_variance

PRIOR = VariancePrior(d0=8.0, s0_squared=0.02**2, groups=40, total_df=80.0)
PRIORS = {"tpot_ms": PRIOR, "steady_tpot_ms": PRIOR, "ttft_s": PRIOR}
LEVEL = 0.0199


def sample(gaps_ms: list[float]) -> Sample:
    return Sample(
        n_input_tokens=4,
        n_output_tokens=len(gaps_ms) + 1,
        ttft_s=0.01,
        tpot_ms=statistics.fmean(gaps_ms),
        rct_s=0.01 + sum(gaps_ms) / 1e3,
        tokens_per_s=1e3 / statistics.fmean(gaps_ms),
        prefill_tokens=3,
        prefill_s=0.01,
        decode_tokens=len(gaps_ms) + 1,
        decode_s=sum(gaps_ms) / 1e3,
        itl_ms=tuple(gaps_ms),
    )


def quiet(seed: int, n: int = 60) -> list[float]:
    draw = random.Random(seed)
    return [10.0 * draw.gauss(1.0, 0.03) for _ in range(n)]


def busy(seed: int, n: int = 60) -> list[float]:
    """Every other stretch of four gaps waits for another program's turn."""
    draw = random.Random(seed)
    return [10.0 * (3.0 if draw.random() < 0.5 else 1.0) for _ in range(n // 4) for _ in range(4)]


def test_independent_gaps_give_the_variance_of_their_mean() -> None:
    """sd^2 / n, which the mean of many estimates comes near."""
    found = [gaps_variance(quiet(seed), statistics.fmean) for seed in range(300)]
    assert statistics.fmean(found) == pytest.approx(0.03**2 / 60, rel=0.15)


def test_gaps_that_follow_each_other_alike_are_worth_less() -> None:
    """Each gap four times over is no more than once: four times the variance of a mean."""
    repeated = [[gap for gap in quiet(seed, 64) for _ in range(4)] for seed in range(200)]
    found = statistics.fmean(gaps_variance(gaps, statistics.fmean) for gaps in repeated)
    assert found == pytest.approx(0.03**2 / 64, rel=0.2)


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_few_gaps_say_nothing(n: int) -> None:
    assert gaps_variance([1.0, 50.0] * (n // 2) + [1.0] * (n % 2), statistics.fmean) == 0.0


def test_quiet_requests_change_nothing() -> None:
    base, new = ([sample(quiet(seed)) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6)))
    gaps = gaps_noise(base, new, PRIORS)
    assert not gaps.is_disturbed
    assert 0 < gaps.least["tpot_ms"] < PRIOR.s0_squared
    figures = [10.0, 10.1, 9.9], [11.0, 11.1, 10.9]
    told = judge_metric("tpot_ms", *figures, level=LEVEL, prior=PRIOR, gaps=gaps)
    assert told == judge_metric("tpot_ms", *figures, level=LEVEL, prior=PRIOR)
    assert (told.status, told.note) == ("REGRESSED", None)


def test_pairs_that_agree_by_chance_are_no_regression_beside_other_programs() -> None:
    base, new = ([sample(busy(seed)) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6)))
    gaps = gaps_noise(base, new, PRIORS)
    assert gaps.is_disturbed
    figures = [20.0, 20.1, 19.9], [22.4, 22.6, 22.2]
    assert judge_metric("tpot_ms", *figures, level=LEVEL, prior=PRIOR).status == "REGRESSED"
    told = judge_metric("tpot_ms", *figures, level=LEVEL, prior=PRIOR, gaps=gaps)
    assert (told.status, told.note, told.is_provisional) == ("INCONCLUSIVE", DISTURBED, True)
    assert (told.pair_sd or 0) ** 2 == pytest.approx(gaps.least["tpot_ms"])


def test_the_first_token_is_judged_by_its_own_pairs_then() -> None:
    """No gap tells its noise; that of a quiet machine is not its own either."""
    base, new = ([sample(busy(seed)) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6)))
    gaps = gaps_noise(base, new, PRIORS)
    figures = [0.010, 0.0102, 0.0098], [0.0125, 0.0130, 0.0128]
    told = judge_metric("ttft_s", *figures, level=LEVEL, prior=PRIOR, gaps=gaps)
    plain = judge_metric("ttft_s", *figures, level=DISTURBED_LEVEL * LEVEL)
    assert told == plain.model_copy(update={"note": DISTURBED})


def test_what_a_quiet_machine_calls_sure_is_not_enough_beside_other_programs() -> None:
    """Where noise is wider than what is tolerated, looks are wrong as often as their level says."""
    base, new = ([sample(busy(seed)) for seed in seeds] for seeds in (range(5), range(5, 10)))
    gaps = gaps_noise(base, new, PRIORS)
    figures = [0.01] * 5, [0.01 * math.exp(d) for d in (0.3, 0.4, 0.6, 0.75, 0.95)]
    assert judge_metric("ttft_s", *figures, level=LEVEL).status == "REGRESSED"
    assert judge_metric("ttft_s", *figures, level=LEVEL, gaps=gaps).status == "INCONCLUSIVE"


def test_without_a_prior_there_is_nothing_to_leave_out() -> None:
    base, new = ([sample(busy(seed)) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6)))
    gaps = gaps_noise(base, new, dict.fromkeys(PRIORS))
    assert not gaps.is_disturbed
    assert gaps.least["rct_s"] == gaps.least["tpot_ms"] > 0


def test_the_median_of_several_requests_varies_less_than_one() -> None:
    """By about pi / (2 n); of one request by all of it."""
    base, new = ([sample(busy(seed)) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6)))
    one, five = (gaps_noise(base, new, PRIORS, n).least["tpot_ms"] for n in (1, 5))
    draw = random.Random(5)
    medians = [statistics.median(draw.gauss(0, 1) for _ in range(5)) for _ in range(20_000)]
    assert five / one == pytest.approx(statistics.variance(medians), rel=0.15)
