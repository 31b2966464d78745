"""From pairs to a verdict of a metric."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.record.cell import Sample
from pytest_dllama.record.verdict import worst
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.verdict.regression import clock_resolution, is_told, judge_metric

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


def _samples(tpot_ms: float, ttft_ms: float = 50.0) -> list[Sample]:
    rct_s = (ttft_ms + 8 * tpot_ms) / 1e3
    sample = Sample(
        n_input_tokens=4, n_output_tokens=9, ttft_s=ttft_ms / 1e3, tpot_ms=tpot_ms, rct_s=rct_s,
        tokens_per_s=9 / rct_s, prefill_tokens=3, prefill_s=0.04, decode_tokens=8, decode_s=0.08,
    )  # fmt: skip
    return [sample] * 3


def test_a_clock_of_whole_ms_gives_no_false_certainty() -> None:
    whole_ms = clock_resolution("tpot_ms", _samples(10.0))
    assert whole_ms == pytest.approx(0.1)
    assert clock_resolution("ttft_s", _samples(10.0)) == pytest.approx(0.02)
    assert clock_resolution("tpot_ms", _samples(10.0007313)) < 1e-6
    same = [10.0] * 3
    found = judge_metric("tpot_ms", same, same, level=LEVEL, resolution=whole_ms)
    assert (found.status, found.change, found.pairs_to_decide) == ("INCONCLUSIVE", 0.0, None)
    assert found.upper == pytest.approx(0.1)
    assert found.note is not None
    assert "the engine's clock tells changes of 10.0% and more only" in found.note
    worse = judge_metric("tpot_ms", same, [13.0] * 3, level=LEVEL, resolution=whole_ms)
    assert worse.status == "REGRESSED"  # beyond what the clock hides
    assert worse.p_worse is None


def test_steady_tpot_needs_a_clock_that_tells_single_gaps() -> None:
    coarse, fine = (clock_resolution("steady_tpot_ms", _samples(ms)) for ms in (10.0, 10.0007313))
    assert not is_told("steady_tpot_ms", coarse)
    assert is_told("steady_tpot_ms", fine)
    assert is_told("steady_tpot_ms", clock_resolution("steady_tpot_ms", _samples(1000.0)))
    assert is_told("tpot_ms", coarse)


def test_noise_above_the_grid_needs_no_widening() -> None:
    new = [10.0, 11.0, 9.0]
    plain = judge_metric("tpot_ms", BASE, new, level=LEVEL)
    assert judge_metric("tpot_ms", BASE, new, level=LEVEL, resolution=0.01) == plain


def test_a_figure_of_0_breaks_nothing() -> None:
    found = judge_metric("ttft_s", [0.0, 0.001, 0.001], [0.001] * 3, level=LEVEL)
    assert (found.status, found.change) == ("INCONCLUSIVE", None)
    assert found.note is not None
    assert "a figure is 0" in found.note


def test_more_is_better_of_rates() -> None:
    found = judge_metric(
        "tokens_per_s", [100.0, 101.0, 99.0], [70.0, 71.0, 69.0], level=LEVEL, tolerance=0.05
    )
    assert found.status == "REGRESSED"
    assert found.change == pytest.approx(100 / 70 - 1, rel=0.01)
