"""The two largest logits, as compiled code finds them between two tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dllama_engine.arrays import Floats
from dllama_engine.generation.generate import top_two as found_by_numpy
from dllama_engine.kernels.run.decoding.next_token import top_two

NOT_FINITE = (-1, -1)


def places(logits: Floats) -> tuple[int, int]:
    first, second = top_two(logits.view(np.int32))
    return int(first), int(second)


@given(
    arrays(
        np.float32,
        st.integers(2, 700),
        elements=st.one_of(
            st.floats(-50, 50, width=32), st.sampled_from([0.0, -0.0, 1.0, -1.0, 50.0, -math.inf])
        ),
    ).filter(lambda logits: bool(np.isfinite(logits.max())))
)
def test_they_are_those_that_numpy_finds(logits: Floats) -> None:
    (first, _), (second, _) = found_by_numpy(logits)
    assert places(logits) == (first, second)


@pytest.mark.parametrize("size", [255, 256, 257, 512, 32_000])
def test_ties_go_to_the_first_wherever_its_run_of_logits_ends(size: int) -> None:
    logits = np.zeros(size, np.float32)
    assert places(logits) == (0, 1)
    logits[[size - 1, size // 2]] = 2.5
    assert places(logits) == (size // 2, size - 1)
    logits[size - 1] = 2.75
    assert places(logits) == (size - 1, size // 2)


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 300, 999])
def test_logits_that_are_not_finite_are_python_s_to_tell_of(bad: float, place: int) -> None:
    logits = np.linspace(-9, 9, 1000, dtype=np.float32)
    logits[place] = bad
    assert places(logits) == NOT_FINITE
    assert places(np.full(4, -np.inf, np.float32)) == NOT_FINITE


def test_a_single_logit_has_no_second() -> None:
    assert places(np.ones(1, np.float32)) == (0, -1)
