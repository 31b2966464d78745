"""Steps are told in their order and none is lost, though not at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from dllama_engine.cli.step_log import PERIOD_NS, StepLog
from dllama_engine.generation.steps import Step
from dllama_engine.tables.links import LINK_WIDTH
from dllama_engine.telemetry.step_cost import StepCost
from dllama_engine.wire.trace import LinkTrace


def step(index: int, end_ns: int) -> Step:
    none = np.zeros((1, LINK_WIDTH), np.int64)
    cost = StepCost(0, end_ns, 0, LinkTrace(()), none, none, 0)
    return Step("decode", index, index, 1, cost, end_ns)


def test_steps_are_kept_until_the_request_is_over() -> None:
    told: list[int] = []
    with StepLog(lambda one: told.append(one.index)) as log:
        for index in range(3):
            log.add(step(index, 0))
        assert told == []
    assert told == [0, 1, 2]


def test_a_step_is_told_at_the_latest_after_a_period() -> None:
    told: list[int] = []
    with StepLog(lambda one: told.append(one.index)) as log:
        now_ns = time.perf_counter_ns()
        log.add(step(0, 0))
        log.add(step(1, now_ns + PERIOD_NS))
        assert told == [0, 1]
        log.add(step(2, now_ns + PERIOD_NS))  # they were told later than `now_ns`
        assert told == [0, 1]


def test_who_watches_sees_each_step() -> None:
    told: list[int] = []
    with StepLog(lambda one: told.append(one.index), 0) as log:
        for index in range(3):
            log.add(step(index, time.perf_counter_ns()))
            assert told[-1] == index


def break_off(tell: Callable[[Step], None], begin: Callable[[], None] = lambda: None) -> None:
    with StepLog(tell, begin=begin) as log:
        log.add(step(0, 0))
        raise ValueError("the link broke")


def test_a_request_that_breaks_off_tells_its_steps_and_why() -> None:
    told: list[int] = []
    with pytest.raises(ValueError, match="the link broke"):
        break_off(lambda one: told.append(one.index))
    assert told == [0]


def test_a_reader_who_left_hides_no_error() -> None:
    def gone(one: Step) -> None:
        raise BrokenPipeError

    with pytest.raises(ValueError, match="the link broke"):
        break_off(gone)
    log = StepLog(gone, 0)
    with pytest.raises(BrokenPipeError):
        log.add(step(0, time.perf_counter_ns()))


def test_that_a_request_has_begun_is_told_with_its_first_steps() -> None:
    """To tell it at once would wake whoever reads, just when the first token is computed."""
    told: list[str] = []
    with StepLog(
        lambda one: told.append(f"step {one.index}"), begin=lambda: told.append("begun")
    ) as log:
        assert told == []
        log.add(step(0, 0))
        assert told == []
        log.add(step(1, time.perf_counter_ns() + PERIOD_NS))
        log.add(step(2, time.perf_counter_ns()))
        assert told == ["begun", "step 0", "step 1"]
    assert told == ["begun", "step 0", "step 1", "step 2"]


def test_who_watches_hears_at_once_that_it_has_begun() -> None:
    told: list[str] = []
    with StepLog(lambda one: told.append("step"), 0, lambda: told.append("begun")):
        assert told == ["begun"]


def test_a_request_without_a_step_has_begun_all_the_same() -> None:
    told: list[str] = []
    with StepLog(lambda one: told.append("step"), begin=lambda: told.append("begun")):
        pass
    with pytest.raises(ValueError, match="the link broke"):
        break_off(lambda one: told.append("step"), lambda: told.append("begun again"))
    assert told == ["begun", "begun again", "step"]
