"""How many requests a session has: as many as decide soonest, of those whose noise is known."""

from __future__ import annotations

import math

import pytest

from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.verdict.requests import PairCost, prospects, soonest

PLAN = Plan((3, 5, 7, 10))
TOLERANCES = {"ttft_s": 0.15, "tpot_ms": 0.05}


def prior(sd: float) -> VariancePrior:
    return VariancePrior(8.0, sd**2, 20, 80.0)


def noise(ttft: float, tpot: float) -> dict[str, VariancePrior]:
    return {"ttft_s": prior(ttft), "tpot_ms": prior(tpot)}


def test_less_noise_for_cheap_requests_decides_sooner() -> None:
    known = {1: noise(0.12, 0.03), 3: noise(0.05, 0.014), 5: noise(0.05, 0.013)}
    one, three, five = prospects(known, TOLERANCES, PLAN, PairCost(1.0, 0.05))
    assert (one.requests, three.requests, five.requests) == (1, 3, 5)
    assert (three.pairs, five.pairs) == (3, 3)  # no look is earlier
    assert one.pairs > 5
    assert three.seconds == pytest.approx(3 * 1.2)
    assert five.seconds == pytest.approx(3 * 1.4)
    assert soonest([one, three, five]) == 3


def test_requests_that_help_little_are_not_asked_for() -> None:
    known = {1: noise(0.05, 0.02), 3: noise(0.05, 0.02)}
    one, three = prospects(known, TOLERANCES, PLAN, PairCost(1.0, 0.1))
    assert one.pairs == three.pairs
    assert soonest([one, three]) == 1


def test_pairs_stay_a_matter_of_seconds() -> None:
    """Long requests are not asked again, however much that helped: other pairs are as good."""
    known = {1: noise(0.30, 0.2), 3: noise(0.01, 0.01)}
    found = prospects(known, TOLERANCES, PLAN, PairCost(1.0, 0.2))
    assert [one.requests for one in found] == [1]


def test_the_metric_that_takes_most_pairs_counts() -> None:
    quiet, noisy = noise(0.01, 0.01), noise(0.01, 0.05)
    (one,) = prospects({1: quiet}, TOLERANCES, PLAN, PairCost(1.0, 0.1))
    (other,) = prospects({1: noisy}, TOLERANCES, PLAN, PairCost(1.0, 0.1))
    assert one.pairs == 3
    assert other.pairs > 10  # beyond the plan's last look


def test_what_is_known_of_too_few_metrics_is_left_out() -> None:
    known = {1: noise(0.12, 0.03), 3: {"tpot_ms": prior(0.001)}}
    assert [one.requests for one in prospects(known, TOLERANCES, PLAN, PairCost(1, 0.1))] == [1]


def test_nothing_known_is_one_request() -> None:
    assert prospects({}, TOLERANCES, PLAN, PairCost(1.0, 0.1)) == ()
    assert soonest(()) == 1
    unlimited = VariancePrior(math.inf, 0.02**2, 20, 80.0)
    (one,) = prospects({1: {"tpot_ms": unlimited}}, TOLERANCES, PLAN, PairCost(1.0, 0.1))
    assert one.pairs == 3
