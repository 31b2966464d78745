"""Peak memory read from outside, of real processes behind the guard."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_dllama.backends.process_guard import guarded
from pytest_dllama.events.ranks import Rank
from pytest_dllama.hosts.agent.memory import FamilyMemory
from pytest_dllama.hosts.base import HostProcess
from pytest_dllama.hosts.local import LocalHost
from pytest_dllama.lab.requests.memory_watch import MemoryWatch
from tests.plugin.lab.requests.memory_taker import MIB, PROGRAM, take
from tests.plugin.traces_for_tests import decode_step, trace


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], tuple[HostProcess, Path]]]:
    started: list[HostProcess] = []

    def start_one(name: str) -> tuple[HostProcess, Path]:
        orders = tmp_path / f"{name}.orders"
        orders.touch()
        command = guarded([sys.executable, "-c", PROGRAM, str(orders)], str(os.getpid()))
        started.append(LocalHost().start(command, name, tmp_path / "logs", {}))
        return started[-1], orders

    yield start_one
    for process in started:
        process.stop()


def peaks(watch: MemoryWatch) -> list[int | None]:
    ranks = [
        Rank(event="rank", rank=0, role="root"),
        Rank(event="rank", rank=1, role="worker"),
        Rank(event="rank", rank=2, role="worker", peak_rss_bytes=5),
    ]
    return [
        rank.peak_rss_bytes for rank in watch.fill(trace([decode_step(0, 1, 9)], ranks=ranks)).ranks
    ]


def test_peaks_of_one_request(start: Callable[[str], tuple[HostProcess, Path]]) -> None:
    worker, worker_orders = start("worker")
    take(worker, worker_orders, 300)  # an earlier, larger request
    watch = MemoryWatch([worker])
    watch.start()
    root, root_orders = start("root")
    take(root, root_orders, 200)
    take(worker, worker_orders, 100)
    watch.sample(root)
    root_peak, worker_peak, told = peaks(watch)
    assert root_peak is not None
    assert worker_peak is not None
    assert 200 * MIB < root_peak < 260 * MIB
    assert 100 * MIB < worker_peak < 160 * MIB  # this request's, not the earlier one's
    assert told == 5  # what the engine says itself stands


def test_the_last_look_at_a_root_that_has_ended_counts(
    start: Callable[[str], tuple[HostProcess, Path]],
) -> None:
    watch = MemoryWatch([])
    root, orders = start("root")
    take(root, orders, 100)
    watch.sample(root)
    root.stop()
    watch.sample(root)
    peak = peaks(watch)[0]
    assert peak is not None
    assert peak > 100 * MIB


def test_a_process_that_is_not_there_gives_none() -> None:
    nobody = FamilyMemory(2**22 + 1)  # beyond the largest id that Linux gives
    nobody.restart()
    nobody.sample()
    assert nobody.peaks() == {"rss_bytes": None, "pss_bytes": None}
    assert not nobody.has_seen
