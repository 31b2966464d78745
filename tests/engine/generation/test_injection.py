"""Delays on purpose: what SPEC means, and that exactly so much time is added."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from dllama_engine.arrays import Floats
from dllama_engine.cli.flags import parsing
from dllama_engine.cli.flags.arguments import RootArgs, WorkerArgs
from dllama_engine.errors import RequestError
from dllama_engine.generation.generate import generate
from dllama_engine.generation.sampler import Sampler
from dllama_engine.injection import Delay, parse_injection
from dllama_engine.tables.links import LINK_WIDTH
from dllama_engine.tables.spans import NAMES
from dllama_engine.telemetry.step_cost import StepCost
from dllama_engine.text.tokenizer import StreamDecoder
from dllama_engine.wire.trace import LinkTrace

MS = 1_000_000
VOCAB = 8


class Clock:
    """Time that passes by sleeping and by being looked at, a microsecond a look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = 0
        monkeypatch.setattr(time, "perf_counter_ns", self.look)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def look(self) -> int:
        self.ns += 1000
        return self.ns

    def sleep(self, s: float) -> None:
        self.ns += round(s * 1e9)


class Model:
    """A forward pass that takes ten milliseconds."""

    max_seq_len = 64

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.spans_ns: dict[int, int] = {}

    def forward(self, token_ids: Sequence[int], pos: int, n_logits: int) -> tuple[Floats, StepCost]:
        start_ns = self._clock.ns
        self._clock.ns += 10 * MS
        none = np.zeros((1, LINK_WIDTH), np.int64)
        cost = StepCost(start_ns, self._clock.ns, 0, LinkTrace(()), none, none, 0)
        return np.zeros((n_logits, VOCAB), np.float32), cost

    def count(self, kind: int, start_ns: int, end_ns: int) -> None:
        self.spans_ns[kind] = self.spans_ns.get(kind, 0) + end_ns - start_ns


class Silent(StreamDecoder):
    """Every token is a letter."""

    def __init__(self) -> None:
        pass

    def push(self, token_id: int) -> str:
        return "x"


def token_times_ms(spec: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each of three tokens was in hand, the request's start being 0."""
    with monkeypatch.context() as patch:
        clock = Clock(patch)
        sampler = Sampler(VOCAB, 0.0, 0.9, 1)
        inject = parse_injection(spec)
        steps = generate(Model(clock), [1, 2], 4, 32, sampler, Silent(), inject=inject)
        return [step.end_ns / MS for step in steps if step.phase == "decode"]


@pytest.mark.parametrize(
    ("spec", "expected_ms"),
    [
        ("sampling=1us", [20, 30, 40]),
        ("tpot=10%", [20, 31, 42]),
        ("tpot=3ms", [20, 33, 46]),
        ("ttft=20ms", [40, 50, 60]),
        ("sampling=5ms", [25, 40, 55]),
        ("tpot=10%, ttft=20ms", [40, 51, 62]),
        ("tpot=0.5s", [20, 530, 1040]),
    ],
)
def test_exactly_so_much_time_is_added(
    spec: str, expected_ms: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token_times_ms(spec, monkeypatch) == pytest.approx(expected_ms, abs=0.3)


def test_all_names_of_a_spec() -> None:
    found = parse_injection("tpot=2.5%,sampling=500us,kernel=generic")
    assert (found.tpot, found.sampling) == (Delay(share=0.025), Delay(ns=500_000))
    assert (found.ttft, found.kernel) == (Delay(), "generic")


def test_slow_work_is_of_one_rank_or_of_all() -> None:
    found = parse_injection("qkv=10%,rank=1:feed-forward=30%,rank=2:compute=2.5%")
    tables = [found.slow_work(rank) for rank in range(3)]
    by_name = [
        {} if table is None else {NAMES[i]: int(n) for i, n in enumerate(table) if n}
        for table in tables
    ]
    assert by_name[0] == {"qkv": 100}
    assert by_name[1] == {"qkv": 100, "feed-forward": 300}
    assert by_name[2] == dict.fromkeys(NAMES[:6], 25) | {"qkv": 125}
    assert parse_injection("tpot=1%").slow_work(0) is None


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("tpott=1%", "there is no 'tpott'; did you mean 'tpot'?"),
        ("memory=1%", "there are tpot, ttft, sampling"),
        ("", "there is no ''"),
        ("tpot", "tpot needs a value, as in tpot=10%"),
        ("tpot=", "tpot needs a value"),
        ("tpot=10", "tpot=10: write a time above 0 and up to 60s with its unit (us, ms, s), or a"),
        ("tpot=-1%", "tpot=-1%: write a time above 0"),
        ("tpot=nan%", "tpot=nan%: write"),
        ("ttft=10%", "ttft takes a time, as in ttft=20ms"),
        ("ttft=61s", "ttft=61s: write a time above 0 and up to 60s with its unit (us, ms, s)"),
        ("tpot=1%,tpot=2%", "tpot is given twice"),
        ("feed-forwrd=1%", "did you mean 'feed-forward'?"),
        ("feed-forward=1ms", "feed-forward takes a share, as in feed-forward=30%"),
        ("rank=3", "write rank=N:NAME=VALUE, as in rank=3:feed-forward=30%"),
        ("rank=x:qkv=1%", ": write rank=N:NAME=VALUE, as"),
        ("rank=1:tpot=1%", "tpot is not of one rank; write tpot=1%"),
        ("rank=1:kernel=generic", "kernel is not of one rank; write kernel=generic"),
    ],
)
def test_what_a_spec_cannot_be(spec: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_injection(spec)
    assert words in str(caught.value)
    assert f"--inject {spec!r}" in str(caught.value)


def test_roots_and_workers_take_it() -> None:
    root = parsing.parse("inference --model m --prompt x --steps 3 --inject tpot=5%".split())
    worker = parsing.parse("worker --inject kernel=generic".split())
    assert isinstance(root, RootArgs)
    assert isinstance(worker, WorkerArgs)
    assert root.inject.tpot == Delay(share=0.05)
    assert worker.inject.kernel == "generic"


def test_a_wrong_spec_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsing.parse("worker --inject tpt=5%".split())
    assert caught.value.code == 2
    assert "did you mean 'tpot'?" in capsys.readouterr().err
