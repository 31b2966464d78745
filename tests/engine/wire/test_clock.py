"""Clocks of ranks: one machine has one clock, so that the bound can be held to the truth."""

from __future__ import annotations

import time

import pytest

from dllama_engine.wire import clock
from dllama_engine.wire.clock import Clock, Reading
from tests.engine.wire.meshes import in_threads, mesh


@pytest.mark.parametrize("ahead_ns", [0, 7_000_000_000])
def test_the_offset_lies_within_its_bound(ahead_ns: int) -> None:
    ranks = mesh(3)
    found: dict[int, Reading] = {}

    def root() -> None:
        found.update({rank: clock.ask(ranks[0], rank) for rank in (1, 2)})

    def worker(rank: int) -> None:
        for _ in range(clock.QUESTIONS):
            ranks[rank].exchange("PROBE", {}, {0: bytearray()})
            stamp = clock._STAMP.pack(time.perf_counter_ns() + ahead_ns)
            ranks[rank].exchange("PROBE", {0: stamp}, {})

    in_threads([root, lambda: worker(1), lambda: worker(2)])
    for reading in found.values():
        assert abs(reading.offset_ns - ahead_ns) <= reading.error_ns
        assert reading.error_ns > 0
    for links in ranks:
        links.close()


def test_root_and_worker_speak_of_the_same_questions() -> None:
    ranks = mesh(2)
    reading, _ = in_threads([lambda: clock.ask(ranks[0], 1), lambda: clock.answer(ranks[1])])
    assert abs(reading.offset_ns) <= reading.error_ns
    for links in ranks:
        links.close()


def test_one_boot_has_one_clock_unless_it_is_found_moved() -> None:
    near, moved = Reading(1000, -40, 50), Reading(9000, 3_600_000_000_000, 50)
    assert clock.between(near, near, same_boot=True) is clock.SAME
    assert clock.between(near, near, same_boot=False) == Clock(near, near)
    assert clock.between(moved, moved, same_boot=True) == Clock(moved, moved)  # a time namespace


def test_between_two_readings_the_drift_is_shared_out() -> None:
    drifting = Clock(Reading(0, 1000, 5), Reading(1_000_000, 1100, 9))
    assert drifting.error_ns == 9
    assert drifting.drift_ppm == pytest.approx(100)
    assert [drifting.on_root(ns) for ns in (1000, 501_050, 1_001_100)] == [0, 500_000, 1_000_000]
    times = [drifting.on_root(ns) for ns in range(1000, 2000)]
    assert times == sorted(times)
