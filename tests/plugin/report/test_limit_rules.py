"""What limits a cell: each rule fires on its figures, in its place, and says what it saw."""

from __future__ import annotations

import pytest

from pytest_dllama.record.cell import PartTime, RankRecord, Sample
from pytest_dllama.record.emulation import CellLinks, LinkAccuracy
from pytest_dllama.record.hosts import PairRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.rules.limits import limit_of
from pytest_dllama.report.sentences.answer import (
    LimitCompute,
    LimitCores,
    LimitExchange,
    LimitLatency,
    LimitMemory,
    LimitRate,
    LimitStraggler,
)
from tests.plugin.report.report_runs import (
    cell,
    estimate,
    network,
    run,
)


def _limit(record: RunRecord) -> object:
    view = RunView.of(record)
    return limit_of(view, record.cells[0])


def _shared(sync: float, tpot_ms: float = 10.0) -> dict[str, object]:
    return {"tpot_ms": estimate(tpot_ms), "sync_share": estimate(sync)}


def _ranks(*compute_s: float) -> tuple[RankRecord, ...]:
    empty = {name: None for name in RankRecord.model_fields}
    return tuple(
        RankRecord(
            **{
                **empty,
                "rank": i,
                "role": "worker" if i else "root",
                "address": "-",
                "hostname": f"pi{i}",
                "compute_s": seconds,
            }
        )
        for i, seconds in enumerate(compute_s)
    )


def test_threads_beyond_the_cores_limit_first() -> None:
    found = cell("a", 32, [1], metrics=_shared(0.9))
    assert _limit(run([found], nthreads=4)) == LimitCores("a-32", 128, 64)


def test_memory_limits_near_its_roofline() -> None:
    from pytest_dllama.record.cell import RooflineRecord

    found = cell(
        "a",
        2,
        [1],
        metrics={**_shared(0.2), "roofline_share": estimate(0.8)},
        roofline=RooflineRecord(read_bytes=(1,), limit_ms=8.0),
    )
    assert _limit(run([found])) == LimitMemory("a-2", 0.8, 8.0, pytest.approx(10.0))


def test_computing_limits_while_it_is_most_of_a_token() -> None:
    found = cell("a", 2, [1], metrics=_shared(0.3))
    assert _limit(run([found])) == LimitCompute(
        "a-2", pytest.approx(0.7), pytest.approx(7.0), pytest.approx(10.0)
    )


def test_a_rank_that_computes_longer_is_the_straggler() -> None:
    found = cell("a", 4, [1], metrics=_shared(0.6), ranks=_ranks(1.0, 1.0, 1.0, 1.5))
    assert _limit(run([found])) == LimitStraggler("a-4", 3, "pi3", 1.5, pytest.approx(0.6))


def _linked(rtt_ms: float, mbps: float) -> RunRecord:
    sample = Sample(
        n_input_tokens=4, n_output_tokens=9, ttft_s=1, tpot_ms=10, rct_s=1, tokens_per_s=9,
        prefill_tokens=4, prefill_s=1, decode_tokens=9, decode_s=1,
    )  # fmt: skip
    found = cell(
        "a",
        2,
        [1],
        metrics=_shared(0.6),
        samples=(sample,),
        network=network(operations=100, bytes_per_token=62_500.0),
    )
    pair = PairRecord(source="pi0", target="pi1", rtt_ms=rtt_ms, bandwidth_mbps=mbps)
    return run([found], host_kind="ssh").model_copy(update={"pairs": (pair,)})


def test_a_slow_link_limits_by_its_rate() -> None:
    # 62 500 bytes are 0.5 Mbit: 5 ms of the 6 ms of exchange at 100 Mbit/s.
    assert _limit(_linked(0.1, 100)) == LimitRate("a-2", 100, pytest.approx(5.0), pytest.approx(6))


def test_a_far_link_limits_by_its_latency() -> None:
    # 100 operations in 10 steps: ten round trips a token.
    assert _limit(_linked(0.5, 1000)) == LimitLatency("a-2", 10, 0.5, pytest.approx(6.0))


def _emulated(one_way_us: float, mbps: float) -> RunRecord:
    link = LinkAccuracy(
        source=0, target=1, set_us=one_way_us, n=48, median_us=one_way_us, p99_us=one_way_us,
        set_mbps=mbps,
    )  # fmt: skip
    record = _linked(9, 9).model_copy(update={"pairs": ()})
    links = CellLinks(links=(link,), n_busy=0, n_messages=0, n_late=0)
    return record.model_copy(
        update={"cells": (record.cells[0].model_copy(update={"links": links}),)}
    )


def test_an_emulated_link_limits_by_what_was_set_one_way() -> None:
    slow, far = _emulated(100, 100), _emulated(400, 1000)
    assert _limit(slow) == LimitRate("a-2", 100, pytest.approx(5.0), pytest.approx(6))
    assert _limit(far) == LimitLatency("a-2", 10, 0.4, pytest.approx(6.0), is_one_way=True)
    assert "10.0 exchanges a token, each a way of 0.400 ms" in render(far, "en")
    assert "토큰당 통신 10.0회, 편도 0.400 ms씩" in render(far, "ko")


def test_exchange_without_a_known_cause_is_only_that() -> None:
    assert _limit(_linked(0.1, 1000)) == LimitExchange(
        "a-2", pytest.approx(0.6), pytest.approx(6.0), pytest.approx(10.0)
    )


def test_a_cell_without_figures_has_no_limit() -> None:
    assert _limit(run([cell("a", 2, [1])])) is None


def test_parts_of_the_engine_come_before_the_sync_share() -> None:
    parts = tuple(
        PartTime(phase="decode", part=part, rank=0, ms=ms)
        for part, ms in (("feed-forward", 3.0), ("exchange-wait", 5.0), ("sampling", 0.5))
    )
    sample = _linked(1, 1).cells[0].samples[0].model_copy(update={"parts": parts})
    record = run([cell("a", 2, [1], metrics=_shared(0.1), samples=(sample,))])
    assert _limit(record) == LimitExchange(
        "a-2", pytest.approx(5 / 8.5), pytest.approx(5.0), pytest.approx(8.5)
    )
    assert "| exchange: waiting |     58.8% |" in render(record, "en")
    assert "| 통신: 대기   |" in render(record, "ko")
