from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.events.base import EventFormatError
from pytest_dllama.events.request import Step
from pytest_dllama.events.session import Error, Listening, Start
from pytest_dllama.events.stream import parse_event
from pytest_dllama.events.trace import TraceError, build_trace, build_traces
from pytest_dllama.validity.faults import faults
from pytest_dllama.validity.output import oracle_output

STEP = {
    "event": "step",
    "t_ns": 5,
    "phase": "decode",
    "index": 0,
    "pos": 6,
    "n_tokens": 1,
    "start_ns": 1,
    "end_ns": 2,
    "compute_us": 3.5,
    "sync_us": 1.5,
    "token_id": 17,
    "piece": "é\n",
    "top": [[17, 3.5], [2, 1.25]],
    "sync_durations_us": {"SYNC_LOGITS": [1.5]},
    "links": [
        {
            "peer": 1,
            "sent_payload_bytes": 10,
            "sent_framing_bytes": 8,
            "recv_payload_bytes": 20,
            "recv_framing_bytes": 8,
            "sent_messages": 1,
            "recv_messages": 1,
            "busy_us": 2.5,
        }
    ],
    "expected_payload_bytes": 30,
    "a_field_of_tomorrow": {},
}
START = {"event": "request", "t_ns": 0, "n_input_tokens": 7, "input_ids": [1, 2]}
DONE = {"event": "done", "n_input_tokens": 7, "n_output_tokens": 1, "text": "é\n"}


def _events(*records):
    return [parse_event(json.dumps(record)) for record in records]


def test_a_step() -> None:
    (step,) = _events(STEP)
    assert isinstance(step, Step)
    assert step.top == ((17, 3.5), (2, 1.25))
    assert step.links[0].payload_bytes == 30
    assert step.links[0].framing_bytes == 16


def test_a_kind_of_tomorrow_is_passed_over() -> None:
    assert parse_event('{"event": "weather", "t_ns": 1}') is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"event": "listening", "host": "h"}', "listening.port: Field required"),
        ('{"event": "listening", "host": "h", "port": "x"}', "listening.port"),
        ("Traceback (most recent call last):", "Invalid JSON"),
        ('{"event": "step", "t_ns"', "Invalid JSON"),
        ("{}", "event"),
    ],
)
def test_lines_that_are_no_event(line: str, message: str) -> None:
    with pytest.raises(EventFormatError, match=message):
        parse_event(line)


@given(st.text())
def test_no_line_crashes_the_parser(line: str) -> None:
    try:
        parse_event(line)
    except EventFormatError:
        pass


def test_a_trace() -> None:
    trace = build_trace(_events({**STEP, "phase": "prefill", "token_id": None}, START, STEP, DONE))
    assert trace.token_ids == (17,)
    assert trace.text == "é\n"
    assert (len(trace.prefill_steps), len(trace.decode_steps)) == (1, 1)


BEGIN = {
    "event": "start", "version": "1", "argv": [], "mode": "inference", "model": {},
    "world_size": 1, "buffer_float_type": "q80", "sync_mode": "reduce", "nthreads": 1,
    "batch_size": 32, "max_seq_len": 64, "kv_type": "f32", "cpu": "c", "pid": 1, "ranks": [],
}  # fmt: skip


def test_a_request_that_is_run_again_has_a_trace_each_time() -> None:
    again = {**STEP, "token_id": 18}
    events = _events(BEGIN, START, STEP, DONE, BEGIN, START, again, DONE)
    first, second = build_traces(events, 2)
    assert (first.token_ids, second.token_ids) == ((17,), (18,))
    with pytest.raises(TraceError, match="ran its request 2 times, not 3"):
        build_traces(events, 3)
    with pytest.raises(TraceError, match="the start of the request"):  # the second broke off
        build_traces(events[:-2], 2)
    with pytest.raises(TraceError, match="ran its request 1 times, not 2"):
        build_traces(_events(START, STEP, DONE), 2)


def test_the_engines_error_is_the_traces_error() -> None:
    error = {"event": "error", "type": "WorkerLost", "message": "worker 2 is gone", "rank": 2}
    with pytest.raises(TraceError, match="worker 2 is gone") as caught:
        build_trace(_events(START, STEP, error))
    assert (caught.value.kind, caught.value.rank) == ("WorkerLost", 2)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no sign of a request"),
        ([{"event": "ready", "load_s": 1}], "after loading"),
        ([START], "the start of the request"),
        ([START, STEP], "1 steps of the request"),
        ([START, DONE], "no output token; ask for more --steps"),
    ],
)
def test_a_stream_that_ends_too_early(records, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        build_trace(_events(*records))


def test_other_events() -> None:
    listening, error = _events(
        {"event": "listening", "host": "127.0.0.1", "port": 4242, "pid": 1},
        {"event": "error", "type": "PlanError", "message": "no", "rank": None},
    )
    assert isinstance(listening, Listening)
    assert isinstance(error, Error)
    assert listening.port == 4242


@pytest.mark.parametrize(
    ("asked", "picks", "overlap", "picked"),
    [
        ("ring", [[1, "ring"]], {}, ()),
        ("auto", [[1, "mesh"]], {}, ("--collective auto picked mesh",)),
        (
            "auto",
            [[1, "mesh"], [9, "two-shot"]],
            {"overlap": "on", "halves_from": 2},
            ("--collective auto picked mesh,two-shot@9",),
        ),
        (
            "mesh",
            [[1, "mesh"]],
            {"overlap": "auto", "halves_from": 7},
            ("--overlap auto picked on@7",),
        ),
        (
            "mesh",
            [[1, "mesh"]],
            {"overlap": "auto", "halves_from": None},
            ("--overlap auto picked off",),
        ),
    ],
)
def test_what_auto_picked_is_told_in_the_form_that_asks_for_it(
    asked: str, picks: list[list[object]], overlap: dict[str, object], picked: tuple[str, ...]
) -> None:
    told = {"event": "collective", "asked": asked, "picks": picks, "round_us": 1.0, **overlap}
    assert tuple(map(str, build_trace(_events(START, told, STEP, DONE)).picked)) == picked


def test_notes_are_kept_apart_from_reasons_not_to_believe() -> None:
    notes = [
        {"event": "note", "text": "kB are 1024 bytes"},
        {"event": "note", "text": "a pipeline run skips work", "invalid": True},
    ]
    trace = build_trace(_events(START, STEP, *notes, DONE))
    assert trace.notes == ("kB are 1024 bytes",)
    assert trace.invalid == ("a pipeline run skips work",)
    (fault,) = faults([trace, trace], oracle_output(trace))  # said by both, told once
    assert (fault.kind, fault.text) == ("engine", "a pipeline run skips work")


def test_an_older_engines_stream_is_read_for_ever() -> None:
    """Phases "eval" and "pred", `n_batches`, no protocol: the baseline may be an old revision."""
    start, *steps = _events(
        {"event": "start", "t_ns": 1, "world_size": 2, "n_batches": 32},
        {**STEP, "phase": "eval", "token_id": None, "piece": None},
        {**STEP, "phase": "pred"},
    )
    assert isinstance(start, Start)
    assert (start.batch_size, start.protocol) == (32, None)
    assert [step.phase for step in steps] == ["prefill", "decode"]
    trace = build_trace([start, *_events(START), *steps, *_events(DONE)])
    assert (len(trace.prefill_steps), len(trace.decode_steps)) == (1, 1)


def test_todays_names() -> None:
    (start,) = _events({"event": "start", "batch_size": 16, "protocol": 1})
    assert isinstance(start, Start)
    assert (start.batch_size, start.protocol) == (16, 1)


def test_no_other_phase() -> None:
    with pytest.raises(EventFormatError, match=r"step\.phase: Input should be 'prefill' or"):
        parse_event(json.dumps({**STEP, "phase": "warm-up"}))
