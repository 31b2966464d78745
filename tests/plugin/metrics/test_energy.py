"""Energy of a window, from readings: by hand-made curves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dllama.metrics.energy import (
    EnergyCurve,
    EnergyUnknown,
    per_token_j,
    tokens_per_joule,
)

T0 = 1_795_629_324.0  # seconds since the epoch, as stamps are


def _steady(watts: float, seconds: int = 60, every_s: float = 0.25) -> EnergyCurve:
    times = [T0 + n * every_s for n in range(int(seconds / every_s) + 1)]
    return EnergyCurve.of_watts(times, [watts] * len(times))


def test_steady_power_gives_its_product_with_time() -> None:
    assert _steady(4.0).energy_j(T0 + 10.1, T0 + 12.3) == pytest.approx(4.0 * 2.2)


def test_power_that_changes_is_integrated_by_trapezoids() -> None:
    curve = EnergyCurve.of_watts([0.0, 1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 6.0, 6.0, 2.0])
    assert curve.energy_j(0.0, 4.0) == 2.0 + 4.0 + 6.0 + 4.0
    assert curve.energy_j(0.5, 3.5) == 1.0 + 4.0 + 6.0 + 2.0


def test_a_counter_is_taken_from_wherever_it_begins() -> None:
    curve = EnergyCurve.of_joules([0.0, 1.0, 2.0, 3.0], [1e9, 1e9 + 5, 1e9 + 5, 1e9 + 11])
    assert curve.energy_j(0.0, 3.0) == 11.0
    assert curve.energy_j(0.2, 3.0) == pytest.approx(4.0 + 6.0)


@settings(max_examples=30)
@given(
    cuts=st.lists(st.floats(T0, T0 + 60.0), min_size=3, max_size=3).filter(
        lambda cuts: min(b - a for a, b in zip(sorted(cuts), sorted(cuts)[1:], strict=False)) > 1
    )
)
def test_windows_beside_each_other_add_up(cuts: list[float]) -> None:
    watts = [3.0 + (n * 7 % 5) for n in range(241)]
    curve = EnergyCurve.of_watts([T0 + n / 4 for n in range(241)], watts)
    a, b, c = sorted(cuts)
    whole = curve.energy_j(a, c)
    assert curve.energy_j(a, b) + curve.energy_j(b, c) == pytest.approx(whole)
    assert 3.0 * (c - a) <= whole <= 7.0 * (c - a)


def test_a_window_shorter_than_three_readings_is_not_known() -> None:
    words = r"0\.400 s are too short for a meter that is read every 0\.25 s: 3 readings are needed"
    with pytest.raises(EnergyUnknown, match=words):
        _steady(4.0).energy_j(T0 + 10.1, T0 + 10.5)


def test_a_gap_is_not_bridged() -> None:
    curve = _steady(4.0)
    kept = [n for n, time_s in enumerate(curve.times_s) if not T0 + 20 < time_s < T0 + 30]
    holed = EnergyCurve(tuple(curve.times_s[n] for n in kept), tuple(curve.joules[n] for n in kept))
    assert holed.energy_j(T0 + 1, T0 + 20) == pytest.approx(76.0)
    with pytest.raises(EnergyUnknown, match=r"gave no reading for 10\.0 s of it, and one every"):
        holed.energy_j(T0 + 19, T0 + 25)


def test_no_reading_of_the_time_is_not_known() -> None:
    for start_s, end_s in ((-5.0, 5.0), (55.0, 65.0)):
        with pytest.raises(EnergyUnknown, match=r"^the meter has no readings of it$"):
            _steady(4.0).energy_j(T0 + start_s, T0 + end_s)
    with pytest.raises(EnergyUnknown, match="the meter gave no two readings"):
        EnergyCurve.of_watts([], []).energy_j(T0, T0 + 1)


@pytest.mark.parametrize(("hours", "which"), [(9.0, "earlier"), (-3.5, "later")])
def test_stamps_of_another_zone_are_recognized(hours: float, which: str) -> None:
    words = rf"of a time {abs(hours):g} h {which}: its stamps look like those of another time zone"
    start_s = T0 + hours * 3600
    with pytest.raises(EnergyUnknown, match=words):
        _steady(4.0).energy_j(start_s + 10, start_s + 20)


def test_no_energy_is_none_and_never_zero() -> None:
    assert per_token_j(8.0, 5) == 2.0
    assert per_token_j(None, 5) is None
    assert per_token_j(8.0, 1) is None
    assert tokens_per_joule(10, 4.0) == 2.5
    assert tokens_per_joule(10, None) is None
    assert tokens_per_joule(10, 0.0) is None
