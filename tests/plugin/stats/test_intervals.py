"""Intervals against textbook values and by their coverage."""

from __future__ import annotations

import doctest
import importlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import (
    clopper_pearson,
    holm,
    mean_interval,
)

WITH_DOCTESTS = ("intervals", "prior", "decision", "looks")


@pytest.mark.parametrize("name", WITH_DOCTESTS)
def test_doctests(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"pytest_dllama.stats.{name}"))
    assert results.attempted > 0
    assert results.failed == 0


def test_mean_interval_is_students() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)  # t(0.975, 2) of every table, sd 1
    assert (found.value, found.lower, found.upper) == pytest.approx((2, 2 - half, 2 + half))


@pytest.mark.parametrize(
    ("successes", "trials", "lower", "upper"),
    [
        (0, 10, 0.0, 0.308497),
        (10, 10, 0.691503, 1.0),
        (1, 10, 0.002529, 0.445016),
        (0, 1000, 0.0, 1 - 0.025**0.001),
    ],
)
def test_clopper_pearson(successes: int, trials: int, lower: float, upper: float) -> None:
    found = clopper_pearson(successes, trials)
    assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=1e-6)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert all(adjusted <= 1)
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_holds_the_error_of_all_tests_together() -> None:
    rng = np.random.default_rng(2)
    wrong = sum(bool(holm(rng.uniform(size=8)).min() < 0.05) for _ in range(2000))
    assert clopper_pearson(wrong, 2000, 0.999).lower <= 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([1.0]), "mean interval: 1 values, at least 2 are needed"),
        (lambda: mean_interval([1.0, math.nan]), "value 2 of 2 is nan; leave out what was not"),
        (lambda: clopper_pearson(3, 2), "3 successes of 2 trials"),
        (lambda: holm([0.1, 1.5]), "every p must lie between 0 and 1"),
    ],
)
def test_bad_numbers_are_named(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(DataError, match=words):
        call()
