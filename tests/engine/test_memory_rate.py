"""`--memory-rate`: between two exchanges a rank takes as long as its board's memory reads."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dllama_engine.errors import RequestError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.memory_rate import parse_memory_rate, rate_text
from dllama_engine.program.program import Program
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.sharding.memory import token_read_bytes
from dllama_engine.sharding.plan import make_plan
from dllama_engine.tables.operations import FIXED
from dllama_engine.tables.spans import COMPUTE, FEED_FORWARD, KINDS, NAMES, QKV
from tests.engine.processes import (
    GOLDEN,
    in_a_quiet_moment,
    inference_arguments,
    read_events,
    run,
    start_worker,
)

MS = 1_000_000
RATE = "4MB/s"  # so low that computing on a crowded machine is a small part of it
STEPS = 8


@pytest.mark.parametrize(
    ("text", "rate"),
    [("8.5GB/s", 8.5e9), ("200MB/s", 2e8), (" 100 kB/s ", 1e5), (".5GB/s", 5e8)],
)
def test_a_rate_has_a_unit(text: str, rate: float) -> None:
    assert parse_memory_rate(text) == rate
    assert parse_memory_rate(rate_text(rate)) == rate


@pytest.mark.parametrize("text", ["", "8.5", "GB/s", "8,5GB/s", "99kB/s", "1e9GB/s", "20000GB/s"])
def test_what_is_no_rate_is_told_with_an_example(text: str) -> None:
    with pytest.raises(RequestError, match=r"write a rate from 100kB/s .* as in 8\.5GB/s") as found:
        parse_memory_rate(text)
    assert repr(text) in str(found.value)


class Emulated:
    """A team whose operations read nothing and have floors all the same."""

    def __init__(self, *floors_ms: float, n_threads: int = 1) -> None:
        x, part = np.zeros((1, 512), np.float32), np.ones((1, 512), np.float32)
        program, self.team = Program(1e-5, 1, n_threads), ThreadTeam(n_threads)
        for number, _ in enumerate(floors_ms):
            program.begin((QKV, FEED_FORWARD)[number % 2])
            program.add_cast(part, x, is_q80=False)
        self.table, self.x, self._part = program.table(), x, part
        self.floors = program.reads()
        assert not self.floors.any()
        self.floors[:, FIXED] = [round(1000 * MS * ms) for ms in floors_ms]
        self.spans = np.zeros(KINDS, np.int64)
        self.team.install(self.table)
        self.team.record_spans(self.spans.ctypes.data)

    def run(self) -> Any:
        self.team.keep_floors(self.floors)
        self.team.run(0, len(self.table), 1)
        return self.spans


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_stretch_takes_the_sum_of_its_floors_by_kind(n_threads: int) -> None:

    def measure() -> Any:
        one = Emulated(30, 0, 20, 150, n_threads=n_threads)  # longer than a rest without Python
        spans = one.run()
        assert spans.sum() >= 200 * MS
        assert one.x[0, 0] == 4  # each operation ran once
        one.team.close()
        return spans

    spans = in_a_quiet_moment(measure, lambda spans: spans[FEED_FORWARD] > spans[QKV] > 40 * MS)
    assert spans[FEED_FORWARD] > spans[QKV] > 40 * MS


def test_floors_can_be_taken_off_again() -> None:
    one = Emulated(3_600_000)
    one.team.keep_floors(one.floors)
    one.team.keep_floors(None)
    one.team.run(0, 1, 1)
    assert one.x[0, 0] == 1
    one.team.close()


def test_a_long_rest_lets_signals_in() -> None:
    one = Emulated(3_600_000)

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    def run_until_then() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        one.run()

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_until_then()
    finally:
        signal.signal(signal.SIGALRM, previous)
    one.team.close()


def computed_us(path: Path) -> dict[int, float]:
    """What each rank computed, of a decoded token."""
    ranks = [event for event in read_events(path) if event["event"] == "rank"]
    decoded = {r["rank"]: s for r in ranks for s in r["spans"] if s["phase"] == "decode"}
    kinds = [NAMES[kind] for kind in COMPUTE]
    return {
        rank: sum(spans["us"].get(kind, 0.0) for kind in kinds) / spans["steps"]
        for rank, spans in decoded.items()
    }


@pytest.mark.parametrize(("name", "n_nodes"), [("llama_q40", 2), ("qwen3moe_q40", 1)])
def test_a_token_takes_the_bytes_that_it_reads_and_is_the_same(
    name: str, n_nodes: int, tmp_path: Path
) -> None:
    """The closed form of the roofline, of every rank; nothing is faster, nothing reads twice."""
    nodes = [start_worker(tmp_path, f"w{n}", "--memory-rate", RATE) for n in range(1, n_nodes)]
    asked = inference_arguments(nodes, name=name, steps=STEPS, nbatches=1)
    with ModelFile.open(GOLDEN / f"{name}.m") as model:
        plan = make_plan(model.config, n_nodes, buffer_type=FloatType.Q80)
    reads = [
        token_read_bytes(plan, rank, n_positions=1, kv_type=FloatType.F32)
        for rank in range(n_nodes)
    ]
    set_us = [1e6 * read / parse_memory_rate(RATE) for read in reads]

    def measure() -> subprocess.CompletedProcess[str]:
        (tmp_path / "e").unlink(missing_ok=True)
        return run(*asked, "--memory-rate", RATE, "--events", tmp_path / "e")

    def reads_once(_: object) -> bool:
        return all(us < 2 * set_us[rank] for rank, us in computed_us(tmp_path / "e").items())

    emulated = in_a_quiet_moment(measure, reads_once)
    for node in nodes:
        assert "EMULATED memory: --memory-rate 0.004GB/s" in node.log
        node.stop(signal.SIGKILL)
    plain = run(
        *inference_arguments(name=name, steps=STEPS, nbatches=1), "--events", tmp_path / "p"
    )
    assert emulated.returncode == plain.returncode == 0, emulated.stderr
    assert "EMULATED memory: --memory-rate 0.004GB/s" in emulated.stdout + emulated.stderr
    assert _tokens(tmp_path / "e") == _tokens(tmp_path / "p")
    found = computed_us(tmp_path / "e")
    assert sorted(found) == list(range(n_nodes))
    for rank, us in found.items():
        assert set_us[rank] <= us < 2 * set_us[rank]


def _tokens(path: Path) -> list[int]:
    return [event["token_id"] for event in read_events(path) if event["event"] == "step"]
