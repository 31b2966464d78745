"""Waiting is followed to the rank whose work caused it."""

from __future__ import annotations

import pytest

from pytest_dllama.verdict.attribution import attribute
from tests.plugin.verdict.part_times import (
    attributed,
    sample,
    slow_rank,
)


def test_waiting_is_followed_to_the_rank_whose_work_became_slower() -> None:
    found = attributed("tpot_ms", slow_rank(2, 1.31, {2: 0.93}))
    wait = found.parts[0]
    assert (wait.part, wait.rank, wait.waited_for) == ("exchange-wait", 0, 2)
    assert wait.share == pytest.approx(1.0, abs=0.1)
    assert wait.because_part == "feed-forward"
    assert wait.because_change == pytest.approx(0.31, abs=0.02)


def test_the_slow_rank_is_found_though_nobody_saw_whose_message_was_last() -> None:
    """Where ranks share cores, the waiting may be counted for another peer."""
    wait = attributed("tpot_ms", slow_rank(2, 1.31, {1: 0.6, 2: 0.33})).parts[0]
    assert (wait.waited_for, wait.because_part) == (2, "feed-forward")


def test_a_rank_that_became_faster_is_the_cause_of_less_waiting() -> None:
    found = attributed("tpot_ms", slow_rank(1, 0.7, {1: -0.9}))
    wait = found.parts[0]
    assert wait.effect_ms == pytest.approx(-0.9, rel=0.05)
    assert wait.share > 0.9
    assert (wait.waited_for, wait.because_part) == (1, "feed-forward")
    assert wait.because_change == pytest.approx(-0.3, abs=0.02)


@pytest.mark.parametrize(
    ("factor", "because"), [(2.0, "feed-forward"), (1.05, None)], ids=["much", "a little"]
)
def test_work_that_explains_little_is_the_cause_if_it_became_much_slower(
    factor: float, because: str | None
) -> None:
    """On a busy machine waiting is many times what was to be waited for."""
    wait = attributed("tpot_ms", slow_rank(2, factor, {2: 40.0}), noise=0.0001).parts[0]
    assert (wait.waited_for, wait.because_part) == (2, because)


def test_work_that_varies_by_ratios_is_sure_by_ratios() -> None:
    """Three, one and one times twenty: by differences that might be chance."""
    factors = (73.0, 24.0, 28.0)
    base = [sample(None, 0.001, i) for i in range(3)]
    new = [
        sample(slow_rank(1, factor, {1: 3 * factor}), 0.001, 10 + i)
        for i, factor in enumerate(factors)
    ]
    wait = attribute("tpot_ms", base, new).parts[0]
    assert (wait.waited_for, wait.because_part) == (1, "feed-forward")


def test_waiting_that_no_ranks_work_explains_has_a_peer_and_no_cause() -> None:
    wait = attributed("tpot_ms", slow_rank(1, 1.0, {1: 1.0})).parts[0]
    assert (wait.part, wait.waited_for) == ("exchange-wait", 1)
    assert (wait.because_part, wait.because_change) == (None, None)
