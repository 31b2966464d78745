"""Ranks that share the cores of one host: who stays where, and that all is given back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllama_engine.cluster.placement import CoreSlots, slots_by_rank
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.system.scheduling import kept_on
from dllama_engine.wire.connecting.handshake import own_info
from tests.engine.processes import Node, start, start_worker, wait_until

CORES = st.lists(st.integers(0, 200), min_size=1, max_size=12, unique=True).map(sorted)


@given(CORES, st.integers(1, 12), st.integers(1, 4))
def test_every_core_carries_as_many_threads(cores: list[int], n_ranks: int, own: int) -> None:
    """Whenever ranks are placed, all of them are, and evenly."""
    total = n_ranks * own
    found = [CoreSlots(rank * own, own, total).cores(cores) for rank in range(n_ranks)]
    placed = [rank_cores for rank_cores in found if rank_cores is not None]
    if not placed:
        assert total < len(cores) or own >= len(cores) or total % len(cores)
        return
    assert len(placed) == n_ranks
    loads = [sum(core in rank_cores for rank_cores in placed) for core in cores]
    assert set(loads) == {total // len(cores)}


def test_ranks_that_just_fill_the_cores_may_be_left_to_the_system() -> None:
    assert [CoreSlots(rank, 1, 2, keeps=False).cores([0, 1]) for rank in range(2)] == [None, None]
    assert [CoreSlots(rank, 1, 2).cores([0, 1]) for rank in range(2)] == [[0], [1]]
    assert CoreSlots(3, 1, 4, keeps=False).cores([0, 1]) == [1]  # more threads than cores


def test_slots_count_the_threads_of_a_host_in_rank_order() -> None:
    here, there = own_info(1), replace(own_info(2), boot_id="another")
    infos = {2: replace(here, n_threads=3), 0: here, 1: there, 3: there}
    assert slots_by_rank(infos) == {
        0: CoreSlots(0, 1, 4), 2: CoreSlots(1, 3, 4), 1: CoreSlots(0, 2, 4), 3: CoreSlots(2, 2, 4),
    }  # fmt: skip


def two_cores() -> list[int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores: with one there is nothing to place")
    return cores[:2]


def cores_of(node: Node) -> list[int]:
    return sorted(os.sched_getaffinity(node.process.pid))


@contextmanager
def long_request(folder: Path, cores: list[int], n_nodes: int, *flags: str) -> Iterator[list[Node]]:
    """The root and its workers, all of one thread, in the middle of a request on these cores."""
    model, tokenizer = write_synthetic("tiny-gqa,seq_len=32768,hidden_dim=65536", folder)
    request = ["--model", model, "--tokenizer", tokenizer, "--prompt", "a", "--steps", 30000]
    request += flags
    with ExitStack() as stack:
        stack.enter_context(kept_on(cores))
        workers = [start_worker(folder, f"worker{rank}") for rank in range(1, n_nodes)]
        for worker in workers:
            stack.callback(worker.stop, signal.SIGKILL)
        addresses = [worker.address for worker in workers]
        root = start(folder, "root", "inference", *request, "--workers", *addresses)
        stack.callback(root.stop, signal.SIGKILL)
        root.wait_event("step", 5)
        yield [root, *workers]


def test_four_ranks_on_two_cores_take_turns_and_give_back(tmp_path: Path) -> None:
    cores = two_cores()
    with long_request(tmp_path, cores, 4) as (root, *workers):
        assert [cores_of(node) for node in (root, *workers)] == [[core] for core in cores * 2]
        line = f"📌 Cores: {cores[1]} of {cores[0]},{cores[1]}, which 4 threads of this host's"
        assert line in workers[0].log
        root.stop(signal.SIGINT)
        for worker in workers:
            wait_until(lambda node=worker: cores_of(node) == cores, "all cores given back")


def test_two_ranks_on_two_cores_never_share_one(tmp_path: Path) -> None:
    """Left to the system both stay on one core for seconds, in some sessions and not in others."""
    cores = two_cores()
    with long_request(tmp_path, cores, 2) as (root, worker):
        assert [cores_of(node) for node in (root, worker)] == [[core] for core in cores]
        before = migrations(root), migrations(worker)
        root.wait_event("step", 200)
        assert (migrations(root), migrations(worker)) == before
        assert f"📌 Cores: {cores[1]} of" in worker.log


def migrations(node: Node) -> int:
    """How often the system has moved the process's first thread to another core."""
    try:
        lines = Path(f"/proc/{node.process.pid}/sched").read_text().splitlines()
    except OSError:
        pytest.skip("this kernel does not tell how often a process is moved")
    (line,) = (line for line in lines if line.startswith("se.nr_migrations"))
    return int(line.partition(":")[2])


def test_where_ranks_may_be_anywhere_the_system_places_them(tmp_path: Path) -> None:
    cores = two_cores()
    with long_request(tmp_path, cores, 2, "--cores", "any") as nodes:
        assert [cores_of(node) for node in nodes] == [cores, cores]
        assert not any("📌" in node.log for node in nodes)
