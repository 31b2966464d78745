"""Where a request's time went: the root's parts add up to TTFT and TPOT, whatever the engine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dllama_engine.tables.spans import NAMES
from pytest_dllama.backends.dllama.events import run_events
from pytest_dllama.backends.dllama.printed.log import parse_log
from pytest_dllama.events.ranks import PhaseSpans, Rank
from pytest_dllama.events.trace import RequestTrace, build_trace
from pytest_dllama.metrics.parts import PARTS, parts_of
from pytest_dllama.metrics.samples import sample_of
from pytest_dllama.record.cell import PartTime, Sample
from tests.data import LOGS
from tests.plugin.traces_for_tests import decode_step, trace

MS = 1_000_000


def rank(number: int, *spans: PhaseSpans) -> Rank:
    return Rank(event="rank", rank=number, role="worker" if number else "root", spans=spans)


def run_with_spans() -> RequestTrace:
    """Tokenizing 1 ms, prefill 10, first token at 15; then four tokens of 4 ms each."""
    steps = [
        decode_step(i, 7 + i, (115 + 4 * i) * MS, start_ns=(112 + 4 * i) * MS) for i in range(5)
    ]
    prefill = PhaseSpans(phase="prefill", steps=2, us={"qkv": 6000.0, "logits": 500.0})
    decode = PhaseSpans(
        phase="decode",
        steps=4,
        us={"qkv": 4000.0, "exchange-wire": 800.0},
        waited_us=((1, 3600.0),),
    )
    of_worker = PhaseSpans(phase="decode", steps=4, us={"qkv": 8000.0})
    ranks = [rank(0, prefill, decode), rank(1, of_worker)]
    return trace(steps, request_ns=100 * MS, prefill_ns=(101 * MS, 111 * MS), ranks=ranks)


def ms_of(parts: Sequence[PartTime], phase: str, of_rank: int = 0) -> dict[str, float]:
    found = [part for part in parts if (part.phase, part.rank) == (phase, of_rank)]
    return {f"{p.part}{'' if p.waited_for is None else p.waited_for}": p.ms for p in found}


def check_sums(sample: Sample) -> None:
    parts = sample.parts
    if sample.ttft_s is not None:
        assert sum(ms_of(parts, "prefill").values()) == pytest.approx(1e3 * sample.ttft_s, abs=1e-5)
    if sample.tpot_ms is not None:
        assert sum(ms_of(parts, "decode").values()) == pytest.approx(sample.tpot_ms, abs=1e-5)


def test_the_roots_spans_and_the_rest_are_the_whole() -> None:
    sample = sample_of(run_with_spans())
    assert ms_of(sample.parts, "prefill") == pytest.approx(
        {"tokenizing": 1.0, "qkv": 6.0, "logits": 0.5, "other": 7.5}
    )
    assert ms_of(sample.parts, "decode") == pytest.approx(
        {"qkv": 1.0, "exchange-wire": 0.2, "exchange-wait1": 0.9, "other": 1.9}
    )
    assert ms_of(sample.parts, "decode", 1) == {"qkv": 2.0}
    check_sums(sample)


def test_parts_stand_in_the_order_of_a_step() -> None:
    places = [PARTS.index(part.part) for part in sample_of(run_with_spans()).parts if not part.rank]
    n_prefill = 4
    assert places == [*sorted(places[:n_prefill]), *sorted(places[n_prefill:])]


def test_without_spans_the_roots_computing_and_exchanging_are_the_parts() -> None:
    steps = [
        decode_step(i, 7 + i, (10 + 4 * i) * MS, sync_us=500.0).model_copy(
            update={"compute_us": 3000.0}
        )
        for i in range(3)
    ]
    sample = sample_of(trace(steps))
    assert ms_of(sample.parts, "prefill") == {"eval": 3.0, "sync": 0.5, "other": 6.5}
    assert ms_of(sample.parts, "decode") == {"eval": 3.0, "sync": 0.5, "other": 0.5}


def test_an_engine_that_tells_nothing_has_no_parts() -> None:
    assert sample_of(trace([decode_step(i, 7, (10 + i) * MS) for i in range(3)])).parts == ()
    assert parts_of(run_with_spans(), None, None) == ()


def test_one_token_has_no_decode() -> None:
    sample = sample_of(trace([decode_step(0, 5, 3 * MS, sync_us=1.0)]))
    assert {part.phase for part in sample.parts} == {"prefill"}


@pytest.mark.parametrize("name", ["fork_inference_n2", "v0.16.4_tiny_n2", "upstream_inference_n1"])
def test_of_the_real_dllama_eval_and_sync_add_up(name: str) -> None:
    (run,) = parse_log((LOGS / f"{name}.log").read_text(encoding="utf-8"))
    sample = sample_of(build_trace(run_events(run, (), int(name[-1]))))
    check_sums(sample)
    assert {part.part for part in sample.parts} >= {"eval", "other"}


def test_every_span_of_the_engine_has_a_part() -> None:
    assert set(NAMES) <= set(PARTS)
