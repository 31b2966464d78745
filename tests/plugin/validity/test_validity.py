from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_dllama.events.session import Plan, Ready, ShareLoad
from pytest_dllama.metrics.loading import loading_record
from pytest_dllama.record.cell import Fault
from pytest_dllama.validity.faults import faults
from pytest_dllama.validity.output import compare_output, explain_difference, oracle_output
from pytest_dllama.validity.tolerance import measure_tolerance
from pytest_dllama.validity.wire import wire_faults
from tests.plugin.traces_for_tests import decode_step, greedy, link, trace

CLEAR = [(1, 10.0), (2, 5.0)]


def _noisy(tops, delta):
    """The same choices with margins moved to and fro by `delta`."""
    return [
        [(a, x + (delta if i % 2 else -delta)), (b, y)] for i, ((a, x), (b, y)) in enumerate(tops)
    ]


def _compare(oracle_tops, cell_tops, **settings):
    settings = {"buffer_float_type": "q80", "sync_mode": "reduce"} | settings
    return compare_output(greedy(oracle_tops), greedy(cell_tops), **settings)


def test_equal_ids_are_identical() -> None:
    output = _compare([CLEAR] * 3, _noisy([CLEAR] * 3, 0.1))
    assert output.status == "identical"
    assert output.first_difference is None


def _pooled(rms: float, n: int, largest_logit: float = 10.0) -> float:
    """The tolerance of q80 buffers, worked out anew."""
    usual = 0.01 * largest_logit
    return 4 * math.sqrt((n * rms**2 + 8 * usual**2) / (n + 8))


def test_a_near_tie_may_go_the_other_way() -> None:
    common = [CLEAR] * 12
    oracle = [*common, [(7, 9.0), (8, 8.9)], CLEAR]
    cell = [*_noisy(common, 0.05), [(8, 9.0), (7, 8.95)], [(3, 9.0), (4, 1.0)]]
    output = _compare(oracle, cell)
    assert output.status == "tie"
    first = output.first_difference
    assert first is not None
    assert (first.position, first.oracle_token_id, first.cell_token_id) == (12, 7, 8)
    assert first.oracle_margin == pytest.approx(0.1)
    assert first.tolerance == pytest.approx(_pooled(0.05, 12))
    assert "near tie" in (output.note or "")


def test_a_clear_choice_may_not() -> None:
    common = [CLEAR] * 12
    oracle = [*common, [(7, 9.0), (8, 8.4)]]
    cell = [*_noisy(common, 0.05), [(8, 9.0), (7, 8.95)]]
    output = _compare(oracle, cell)
    assert output.status == "different"
    assert "output token 13 is '<8>' where one node gave '<7>'" in (output.note or "")
    assert "margin 0.6, tolerance 0.297 (rms 0.05 on 12 equal steps)" in (output.note or "")
    explained = explain_difference(output, "tiny on 4 nodes")
    assert greedy(oracle).text in explained
    assert greedy(cell).text in explained


def test_a_third_token_far_from_the_cells_own_second_is_different() -> None:
    """However small the margin between the oracle's two best."""
    output = _compare([[(7, 9.0), (8, 8.9999)]], [[(9, 9.0), (7, 8.0)]])
    assert output.status == "different"
    assert "or more (a third token)" in (output.note or "")


def test_a_third_token_when_the_cell_knew_one_of_the_two_best_not() -> None:
    output = _compare([[(7, 9.0), (8, 8.9999)]], [[(9, 9.0), (10, 8.99)]])
    assert output.status == "different"


def test_a_tie_of_three() -> None:
    """The oracle between two, the cell between a third and one of them."""
    assert _compare([[(7, 9.0), (8, 8.99)]], [[(9, 9.0), (7, 8.99)]]).status == "tie"


def test_the_cap_holds_when_the_runs_have_little_in_common() -> None:
    """A broken cell has wild margins; they must not excuse it."""
    common = [CLEAR] * 12
    oracle = [*common, [(7, 9.0), (8, 8.0)]]
    cell = [*_noisy(common, 2.0), [(8, 9.0), (7, 8.0)]]
    output = _compare(oracle, cell)
    assert output.status == "different"
    assert "capped" in (output.note or "")


def test_without_common_steps_the_usual_spread_counts() -> None:
    tolerance = measure_tolerance(greedy([CLEAR]), greedy([CLEAR]), 0, "q80", "reduce")
    assert tolerance.margin == pytest.approx(_pooled(0, 0))
    assert "none to measure" in str(tolerance)


def test_many_common_steps_outweigh_the_usual_spread() -> None:
    steps = [CLEAR] * 1000
    tolerance = measure_tolerance(greedy(steps), greedy(_noisy(steps, 0.02)), 1000, "q80", "reduce")
    assert tolerance.margin == pytest.approx(4 * 0.02, rel=0.1)


def test_f32_buffers_allow_rounding_only() -> None:
    def parted(gap: float, buffer_float_type: str) -> str:
        oracle, cell = [[(7, 9.0), (8, 9.0 - gap)]], [[(8, 9.0), (7, 9.0 - gap)]]
        return _compare(oracle, cell, buffer_float_type=buffer_float_type).status

    assert parted(1e-6, "f32") == "tie"
    assert parted(1e-4, "f32") == "different"
    assert parted(1e-4, "q80") == "tie"


def test_invariant_mode_has_no_tolerance() -> None:
    oracle = [[(7, 9.0), (8, 8.999999)]]
    cell = [[(8, 9.0), (7, 8.999999)]]
    output = _compare(oracle, cell, sync_mode="invariant")
    assert output.status == "different"
    assert "must give equal ids" in (output.note or "")


def test_sampled_output_proves_nothing() -> None:
    output = _compare([CLEAR], [[(2, 5.0), (1, 4.0)]], temperature=0.8)
    assert output.status == "unchecked"
    assert _compare([CLEAR], [CLEAR], temperature=0.8).status == "identical"


def test_fewer_tokens_are_different() -> None:
    output = _compare([CLEAR] * 3, [CLEAR] * 2)
    assert output.status == "different"
    assert output.note == "2 output tokens where one node gave 3"


def _wired(counted_bytes: int, expected_bytes: int):
    links = [link(1, counted_bytes - 40, 40)]
    plan = Plan(event="plan", decode_payload_bytes=((0, 1, 60, 3), (1, 0, 40, 3)))
    step = decode_step(0, 1, 10, links=links, expected_payload_bytes=expected_bytes)
    return trace([step], plan=plan)


def test_wire_truth() -> None:
    assert wire_faults(_wired(100, 100), 1) == []


def test_one_byte_more_is_a_fault() -> None:
    whole, one_link = wire_faults(_wired(101, 100), 2)
    assert (whole.kind, whole.repeat, whole.step) == ("wire", 2, 0)
    assert whole.text == (
        "repeat 2: wire: decode step 0 moved 101 payload bytes on the root's links, the shard plan "
        "says 100"
    )
    assert "61 payload bytes to rank 1, the shard plan says 60" in one_link.text


def test_a_wrong_link_is_a_fault_though_the_sum_is_right() -> None:
    plan = Plan(event="plan", decode_payload_bytes=((0, 1, 50, 3), (1, 0, 50, 3)))
    step = decode_step(0, 1, 10, links=[link(1, 60, 40)], expected_payload_bytes=100)
    assert len(wire_faults(trace([step], plan=plan), 1)) == 2


def test_right_bytes_in_other_messages_are_a_fault() -> None:
    """An engine that counts no messages is not held to them."""
    plan = Plan(event="plan", decode_payload_bytes=((0, 1, 60, 3), (1, 0, 40, 3)))
    counted = link(1, 60, 40).model_copy(update={"sent_messages": 3, "recv_messages": 5})
    step = decode_step(0, 1, 10, links=[counted], expected_payload_bytes=100)
    (fault,) = wire_faults(trace([step], plan=plan), 1)
    assert "moved 5 messages from rank 1, the shard plan says 3" in fault.text
    untold = decode_step(0, 1, 10, links=[link(1, 60, 40)], expected_payload_bytes=100)
    assert wire_faults(trace([untold], plan=plan), 1) == []


def _loaded(sent_bytes: int, expected_bytes: int):
    share = ShareLoad(
        rank=1,
        source="cache",
        cached_bytes=70,
        sent_bytes=sent_bytes,
        expected_bytes=expected_bytes,
    )
    whole = trace([decode_step(0, 1, 10)])
    return replace(whole, ready=Ready(event="ready", load_s=1.0, shares=(share,)))


def test_loading_sends_what_a_rank_does_not_have_and_no_byte_more() -> None:
    assert wire_faults(_loaded(30, 30), 1) == []
    (fault,) = wire_faults(_loaded(100, 30), 1)
    assert fault.kind == "wire"
    assert fault.text == (
        "repeat 1: wire: loading sent 100 payload bytes to rank 1, the shard plan and what that "
        "rank has of it (cache) say 30"
    )


def test_the_record_tells_where_weights_came_from() -> None:
    record = loading_record(_loaded(30, 30))
    assert record is not None
    assert record.shares[0].model_dump() == {
        "rank": 1, "source": "cache", "cached_bytes": 70, "sent_bytes": 30,
    }  # fmt: skip
    assert loading_record(trace([decode_step(0, 1, 10)])) is None


def test_many_faults_are_summed_up() -> None:
    steps = [
        decode_step(i, 1, 10, links=[link(1, 6, 4)], expected_payload_bytes=9) for i in range(9)
    ]
    faults = wire_faults(trace(steps), 1)
    assert [fault.step for fault in faults] == [0, 1, 2, None]
    assert {fault.kind for fault in faults} == {"wire"}
    assert faults[-1].text == "repeat 1: and 6 more such steps"


def test_repeats_must_agree() -> None:
    good, bad = greedy([CLEAR]), greedy([[(2, 5.0), (1, 4.0)]])
    output = oracle_output(good)
    assert faults([good, good], output) == ()
    text = "output: repeat 2 of 3 gave other tokens than repeat 1"
    assert faults([good, bad, good], output) == (Fault(kind="repeats", repeat=2, text=text),)


def test_another_output_is_a_fault_of_the_step_that_parts() -> None:
    oracle, cell = greedy([CLEAR] * 2), greedy([CLEAR, [(2, 9.0), (1, 1.0)]])
    output = compare_output(oracle, cell, buffer_float_type="q80", sync_mode="reduce")
    (fault,) = faults([cell], output)
    assert (fault.kind, fault.repeat, fault.step) == ("output", None, 1)
    assert fault.text == f"output: {output.note}"
