"""From pairs to a verdict of a metric."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.record.verdict import worst
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.verdict.regression import judge_metric

LEVEL = Plan().level
PRIOR = VariancePrior(d0=8.0, s0_squared=0.02**2, groups=30, total_df=120.0)
BASE = (10.0, 10.2, 9.9)


def judged(factor: float, base: tuple[float, ...] = BASE, **more: object) -> str:
    noise = (1.0, 1.01, 0.995)
    new = [value * factor * wobble for value, wobble in zip(base, noise, strict=True)]
    return judge_metric("tpot_ms", base, new, level=LEVEL, prior=PRIOR, **more).status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("factor", "status"),
    [(1.0, "PASS"), (1.2, "REGRESSED"), (0.8, "IMPROVED"), (1.05, "INCONCLUSIVE")],
)
def test_the_four_answers(factor: float, status: str) -> None:
    assert judged(factor) == status


def test_a_wider_tolerance_lets_a_change_pass() -> None:
    assert judged(1.2, tolerance=0.5) == "PASS"


def test_without_a_prior_it_says_so_and_is_more_careful() -> None:
    new = [11.3, 11.2, 11.5]
    bold = judge_metric("tpot_ms", BASE, new, level=LEVEL, prior=PRIOR)
    careful = judge_metric("tpot_ms", BASE, new, level=LEVEL)
    assert (bold.status, bold.is_provisional) == ("REGRESSED", False)
    assert careful.is_provisional
    assert careful.lower is not None
    assert bold.lower is not None
    assert careful.lower < bold.lower


def test_what_it_would_take_to_decide() -> None:
    undecided = judge_metric("tpot_ms", BASE, [10.7, 10.6, 10.5], level=LEVEL, prior=PRIOR)
    assert undecided.status == "INCONCLUSIVE"
    assert undecided.pairs_to_decide is not None
    assert undecided.pairs_to_decide > undecided.pairs
    assert undecided.detectable_change is not None
    assert undecided.detectable_change > undecided.tolerance


@given(st.floats(0.5, 2.0), st.floats(1e-3, 1e3))
def test_the_unit_makes_no_difference(factor: float, scale: float) -> None:
    scaled = tuple(value * scale for value in BASE)
    new = [value * factor for value in BASE]
    first = judge_metric("ttft_s", BASE, new, level=LEVEL, prior=PRIOR)
    other = judge_metric("ttft_s", scaled, [v * scale for v in new], level=LEVEL, prior=PRIOR)
    assert first.change == pytest.approx(other.change, abs=1e-9)


def test_one_pair_is_none() -> None:
    with pytest.raises(DataError, match=r"2 or more|at least 2|two"):
        judge_metric("tpot_ms", [1.0], [1.0], level=LEVEL)


def test_a_run_has_the_worst_of_its_cells() -> None:
    assert worst(["PASS", "IMPROVED", "INCONCLUSIVE"]) == "INCONCLUSIVE"
    assert worst(["REGRESSED", "INVALID"]) == "INVALID"
    assert worst(["INVALID", "ERROR"]) == "ERROR"
