from __future__ import annotations

import pytest

from pytest_dllama import validity
from pytest_dllama.events import Plan
from tests.plugin.traces_for_tests import decode_step, greedy, link, trace

CLEAR = [(1, 10.0), (2, 5.0)]


def _noisy(tops, delta):
    """The same choices with margins moved to and fro by `delta`."""
    return [
        [(a, x + (delta if i % 2 else -delta)), (b, y)] for i, ((a, x), (b, y)) in enumerate(tops)
    ]


def _compare(oracle_tops, cell_tops, **settings):
    settings = {"buffer_float_type": "q80", "sync_mode": "reduce"} | settings
    return validity.compare_output(greedy(oracle_tops), greedy(cell_tops), **settings)


def test_equal_ids_are_identical() -> None:
    output = _compare([CLEAR] * 3, _noisy([CLEAR] * 3, 0.1))
    assert output.status == "identical"
    assert output.first_difference is None


def test_a_near_tie_may_go_the_other_way() -> None:
    common = [CLEAR] * 12
    oracle = [*common, [(7, 9.0), (8, 8.9)], CLEAR]
    cell = [*_noisy(common, 0.1), [(8, 9.0), (7, 8.95)], [(3, 9.0), (4, 1.0)]]
    output = _compare(oracle, cell)
    assert output.status == "tie"
    first = output.first_difference
    assert first is not None
    assert (first.position, first.oracle_token_id, first.cell_token_id) == (12, 7, 8)
    assert first.oracle_margin == pytest.approx(0.1)
    assert first.tolerance == pytest.approx(0.4)  # 4 * rms of margins that moved by 0.1
    assert "near tie" in (output.note or "")


def test_a_clear_choice_may_not() -> None:
    common = [CLEAR] * 12
    oracle = [*common, [(7, 9.0), (8, 8.4)]]
    cell = [*_noisy(common, 0.1), [(8, 9.0), (7, 8.95)]]
    output = _compare(oracle, cell)
    assert output.status == "different"
    assert "output token 13" in (output.note or "")
    assert "margin 0.6" in (output.note or "")
    explained = validity.explain_difference(output, "tiny on 4 nodes")
    assert greedy(oracle).text in explained
    assert greedy(cell).text in explained


def test_a_token_that_is_not_among_the_two_best_is_different() -> None:
    """However small the margin between the two best."""
    output = _compare([[(7, 9.0), (8, 8.9999)]], [[(9, 9.0), (7, 8.9)]])
    assert output.status == "different"
    assert "not of its two best" in (output.note or "")


def test_the_cap_holds_when_the_runs_have_nothing_in_common() -> None:
    """A broken cell has wild margins; they must not excuse it."""
    common = [CLEAR] * 12
    oracle = [*common, [(7, 9.0), (8, 7.0)]]
    cell = [*_noisy(common, 2.0), [(8, 9.0), (7, 8.0)]]
    output = _compare(oracle, cell)
    assert output.status == "different"
    assert "cap" in (output.note or "")


def test_few_common_steps_leave_the_floor() -> None:
    tolerance = validity.measure_tolerance(
        greedy([CLEAR] * 3), greedy(_noisy([CLEAR] * 3, 1.0)), 3, "q80", "reduce"
    )
    assert tolerance.limited_by == "floor"
    assert tolerance.margin == pytest.approx(10.0 * validity.TOLERANCE_SHARE["q80"][0])


def test_f32_buffers_allow_rounding_only() -> None:
    oracle = [[(7, 9.0), (8, 8.99)]]
    cell = [[(8, 9.0), (7, 8.99)]]
    assert _compare(oracle, cell, buffer_float_type="f32").status == "different"
    assert _compare(oracle, cell, buffer_float_type="q80").status == "tie"


def test_invariant_mode_has_no_tolerance() -> None:
    oracle = [[(7, 9.0), (8, 8.999999)]]
    cell = [[(8, 9.0), (7, 8.999999)]]
    output = _compare(oracle, cell, sync_mode="invariant")
    assert output.status == "different"
    assert "no tolerance" in (output.note or "")


def test_sampled_output_proves_nothing() -> None:
    output = _compare([CLEAR], [[(2, 5.0), (1, 4.0)]], temperature=0.8)
    assert output.status == "unchecked"
    assert _compare([CLEAR], [CLEAR], temperature=0.8).status == "identical"


def test_fewer_tokens_are_different() -> None:
    output = _compare([CLEAR] * 3, [CLEAR] * 2)
    assert output.status == "different"
    assert output.note == "2 output tokens where the oracle has 3"


def _wired(counted_bytes: int, expected_bytes: int):
    links = [link(1, counted_bytes - 40, 40)]
    plan = Plan(event="plan", decode_payload_bytes=((0, 1, 60, 3), (1, 0, 40, 3)))
    step = decode_step(0, 1, 10, links=links, expected_payload_bytes=expected_bytes)
    return trace([step], plan=plan)


def test_wire_truth() -> None:
    assert validity.wire_faults(_wired(100, 100)) == []


def test_one_byte_more_is_a_fault() -> None:
    faults = validity.wire_faults(_wired(101, 100))
    assert "moved 101 payload bytes on the root's links, the shard plan says 100" in faults[0]
    assert "61 payload bytes to rank 1, the shard plan says 60" in faults[1]


def test_a_wrong_link_is_a_fault_though_the_sum_is_right() -> None:
    plan = Plan(event="plan", decode_payload_bytes=((0, 1, 50, 3), (1, 0, 50, 3)))
    step = decode_step(0, 1, 10, links=[link(1, 60, 40)], expected_payload_bytes=100)
    assert len(validity.wire_faults(trace([step], plan=plan))) == 2


def test_many_faults_are_summed_up() -> None:
    steps = [
        decode_step(i, 1, 10, links=[link(1, 6, 4)], expected_payload_bytes=9) for i in range(9)
    ]
    faults = validity.wire_faults(trace(steps))
    assert len(faults) == 4
    assert faults[-1] == "and 6 more such steps"


def test_repeats_must_agree() -> None:
    good, bad = greedy([CLEAR]), greedy([[(2, 5.0), (1, 4.0)]])
    output = validity.oracle_output(good)
    assert validity.faults([good, good], output) == ()
    assert validity.faults([good, bad, good], output) == (
        "output: repeat 2 of 3 gave other tokens than repeat 1",
    )
