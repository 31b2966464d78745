from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.events.ranks import Rank
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.metrics import definitions
from pytest_dllama.metrics.catalog import cell_metrics
from pytest_dllama.metrics.network import (
    bytes_per_token,
    network_record,
    root_bandwidth_mbps,
    sync_share,
)
from pytest_dllama.metrics.samples import median_parts, sample_of, session_sample
from pytest_dllama.record.cell import PartTime
from tests.plugin.traces_for_tests import decode_step, link, trace

# The 13B model on 2 nodes of the reference report: 7 prompt tokens, 122 output tokens,
# TTFT 7.669 s, RCT 152.345 s.
N_OUTPUT, TTFT_NS, RCT_NS = 122, 7_669_000_000, 152_345_000_000
REQUEST_NS = 1_000_000_000


def _llama_13b_on_2_nodes():
    gap_ns = (RCT_NS - TTFT_NS) / (N_OUTPUT - 1)
    ends_ns = [REQUEST_NS + TTFT_NS + round(i * gap_ns) for i in range(N_OUTPUT)]
    steps = [
        decode_step(i, 100 + i, end, start_ns=end - 1_000_000_000) for i, end in enumerate(ends_ns)
    ]
    prefill_ns = (REQUEST_NS, REQUEST_NS + 6_480_000_000)
    return trace(steps, request_ns=REQUEST_NS, prefill_ns=prefill_ns)


def test_figures_of_the_reference_report() -> None:
    sample = sample_of(_llama_13b_on_2_nodes())
    assert sample.n_output_tokens == 122
    assert sample.prefill_tokens == 6
    assert sample.ttft_s == pytest.approx(7.669)
    assert sample.rct_s == pytest.approx(152.345)
    assert sample.tpot_ms == pytest.approx(1195.669, abs=5e-4)  # 144.676 s / 121
    assert sample.tokens_per_s == pytest.approx(0.8008, abs=5e-5)
    assert len(sample.itl_ms) == 121
    assert sum(sample.itl_ms) == pytest.approx(144_676, rel=1e-6)


def _of_times(ttft_ms: float, gap_ms: float) -> RequestTrace:
    ends_ns = [round(1e6 * (ttft_ms + i * gap_ms)) for i in range(5)]
    steps = [decode_step(i, i, end, start_ns=end - 1000) for i, end in enumerate(ends_ns)]
    return trace(steps, request_ns=0)


def test_a_session_of_several_requests_has_the_median_of_each_figure() -> None:
    traces = [_of_times(30, 2.0), _of_times(10, 9.0), _of_times(20, 1.0)]
    found = session_sample(traces)
    assert (found.ttft_s, found.tpot_ms) == (0.020, 2.0)  # of the first and of the last request
    assert found.rct_s == pytest.approx(0.038)
    assert found.itl_ms == (2.0,) * 4  # of the request with the median RCT
    assert session_sample(traces[:1]) == sample_of(traces[0])


def test_each_part_of_a_session_is_the_median_of_its_requests() -> None:
    qkv = PartTime(phase="decode", part="qkv", rank=0, ms=1.0)
    wait = PartTime(phase="decode", part="exchange-wait", rank=0, waited_for=1, ms=6.0)
    one = sample_of(_of_times(30, 2.0))
    times = [(1.0, True), (9.0, False), (2.0, False)]
    samples = [
        one.model_copy(
            update={"parts": (qkv.model_copy(update={"ms": ms}), *([wait] if waits else []))}
        )
        for ms, waits in times
    ]
    assert [part.ms for part in median_parts(samples)] == [2.0, 0.0]  # two did not wait at all


def test_engine_phases_give_prefill_and_decode_rates() -> None:
    run = _llama_13b_on_2_nodes()
    figures = cell_metrics([run], [sample_of(run)])
    assert figures["prefill_tokens_per_s"].value == pytest.approx(6 / 6.48)
    assert figures["decode_tokens_per_s"].value == pytest.approx(1.0)  # each step took one second


def test_one_output_token_has_no_tpot() -> None:
    sample = sample_of(trace([decode_step(0, 5, 3_000_000_000)]))
    assert sample.tpot_ms is None
    assert sample.itl_ms == ()
    assert sample.prefill_s is None
    assert (sample.ttft_s, sample.rct_s) == (3.0, 3.0)


def test_wire_figures() -> None:
    links = [link(1, 300, 200, busy_us=400), link(2, 100, 200, busy_us=240)]
    steps = [
        decode_step(
            i,
            i,
            (i + 1) * 2_000_000,
            start_ns=i * 2_000_000,
            links=links,
            sync_us=500,
            durations_us=[250, 250],
            expected_payload_bytes=800,
        )
        for i in range(4)
    ]
    run = trace(steps)
    assert bytes_per_token(run) == 800
    assert sync_share(run) == pytest.approx(0.25)  # 500 us of 2 ms
    # 800 payload and 32 framing bytes a step in 640 us of busy links
    assert root_bandwidth_mbps(run) == pytest.approx(832 * 8 / 640)
    network = network_record([run], run)
    assert network is not None
    assert (network.operations, network.payload_bytes, network.framing_bytes) == (8, 3200, 128)
    assert network.expected_payload_bytes == 3200
    assert network.p50_ms == pytest.approx(0.25)
    assert network.p95_ms is None  # eight operations are too few for it


def test_one_node_has_no_network() -> None:
    run = trace([decode_step(i, i, i + 1) for i in range(3)])
    assert network_record([run], run) is None
    figures = cell_metrics([run], [sample_of(run)])
    assert {"sync_share", "bytes_per_token", "bandwidth_mbps"}.isdisjoint(figures)


def test_worker_memory_is_the_largest_worker_and_the_median_repeat() -> None:
    runs = []
    for rss in (30, 10, 20):
        ranks = [
            Rank(event="rank", rank=0, role="root", peak_rss_bytes=5),
            Rank(event="rank", rank=1, role="worker", peak_rss_bytes=rss),
            Rank(event="rank", rank=2, role="worker", peak_rss_bytes=rss - 1),
        ]
        runs.append(trace([decode_step(0, 1, 10)], ranks=ranks))
    figures = cell_metrics(runs, [sample_of(run) for run in runs])
    worker = figures["worker_peak_rss_bytes"]
    assert (worker.value, worker.minimum, worker.maximum, worker.n) == (20, 10, 30, 3)
    assert figures["root_peak_rss_bytes"].value == 5


@pytest.mark.parametrize(("percent", "needed"), definitions.PERCENTILE_MIN_SAMPLES.items())
def test_percentiles_need_samples(percent: int, needed: int) -> None:
    assert definitions.percentile([1.0] * (needed - 1), percent) is None
    assert definitions.percentile([1.0] * needed, percent) == 1.0
    # the rule itself: with so many samples all below the percentile, chance is under 1 %
    assert (percent / 100) ** needed <= 0.01 < (percent / 100) ** (needed - 1)


def test_nearest_rank() -> None:
    assert definitions.nearest_rank([4, 1, 3, 2], 50) == 2
    assert definitions.nearest_rank(range(1, 101), 95) == 95
    assert definitions.nearest_rank([7], 99) == 7


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_estimate_spans_its_values(values: list[float]) -> None:
    estimate = definitions.estimate([*values, None])
    assert estimate is not None
    assert min(values) == estimate.minimum <= estimate.value <= estimate.maximum == max(values)
    assert estimate.n == len(values)


@given(st.lists(st.floats(0.001, 1e3), min_size=1, max_size=9))
def test_median_index_points_at_the_median_repeat(values: list[float]) -> None:
    chosen = values[definitions.median_index(values)]
    assert sum(v < chosen for v in values) <= (len(values) - 1) // 2
    assert sum(v > chosen for v in values) <= len(values) // 2


def test_no_estimate_without_values() -> None:
    assert definitions.estimate([None, None]) is None
    assert definitions.rate_per_s(0, 1.0) is None
    assert definitions.rate_per_s(3, None) is None
    assert definitions.share(1, 0) is None
    assert definitions.bandwidth_mbps(100, 0) is None
    assert not math.isnan(definitions.share(0, 1) or 0.0)


def test_steady_tpot_is_of_the_faster_half_of_the_gaps() -> None:
    def of(*gaps_ms: float) -> float | None:
        times_ns = [0, *(round(1e6 * sum(gaps_ms[: i + 1])) for i in range(len(gaps_ms)))]
        steps = [decode_step(i, i, at) for i, at in enumerate(t + REQUEST_NS for t in times_ns)]
        return sample_of(trace(steps)).steady_tpot_ms

    assert of(2.0, 2.2, 2.4, 2.6) == pytest.approx(2.1)
    assert of(2.0, 2.2, 90.0, 700.0) == pytest.approx(2.1)  # hiccups do not move it
    assert of(2.2, 2.42, 2.64, 2.86) == pytest.approx(1.1 * 2.1)  # what slows every token does
    assert of(5.0) == 5.0
    assert of() is None
