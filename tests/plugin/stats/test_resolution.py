"""What a clock can tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.resolution import clock_grid


@pytest.mark.parametrize(
    ("readings", "grid"),
    [
        ([12.0, 15.0, 7.0], 1.0),  # whole ms
        ([20.0, 30.0], 1.0),  # never coarser than asked for
        ([12.25, 7.5], 0.01),
        ([12.345678, 7.5], 1e-6),
        ([12.3456789012, 7.1234567], 0.0),
    ],
)
def test_the_grid_of_readings(readings: list[float], grid: float) -> None:
    assert clock_grid(readings, 1.0) == pytest.approx(grid)


@given(st.lists(st.integers(1, 10**6), min_size=1), st.sampled_from([1.0, 0.1, 0.01, 0.001]))
def test_multiples_lie_on_their_grid(counts: list[int], grid: float) -> None:
    assert clock_grid([count * grid for count in counts], 1.0) >= grid * (1 - 1e-9)


def test_no_reading_is_an_error() -> None:
    with pytest.raises(DataError, match="0 values, at least 1"):
        clock_grid([], 1.0)
