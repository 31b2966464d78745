"""Every event of the embedded engine, as it is written, against the reader's model of it."""

from __future__ import annotations

import dataclasses
import io
import json
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_args

import pytest
from pydantic import AliasChoices, BaseModel

from dllama_engine.telemetry import events
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events import (
    base,
    loading,
    network,
    process,
    ranks,
    request,
    session,
    worker,
)
from dllama_engine.telemetry.network_stats import LinkStats, OpStats
from dllama_engine.wire.trace import LinkCount
from pytest_dllama.events import stream
from pytest_dllama.events.stream import parse_event

COUNT = LinkCount(1, 10, 8, 20, 16, 1, 2, 2.5)
SPANS = ranks.PhaseSpans("decode", 3, {"qkv": 12.5, "exchange-wire": 3.25}, ((0, 7.5),))
TIMES = ranks.Times(3, 4.5, 2.25, ((1000, 2), (2250, 1)))
TCP = ranks.TcpCount(0, "eth0", 210, 40, 150, 3, 900, 870.5)
NIC = ranks.NicCount("eth0", 900, 800, 0, 2, 700, 600)
DONE = (7, 3, 0.1, 0.2, 0.15, 0.3, "steps", "é\n")
EVENTS: tuple[base.Event, ...] = (
    session.Start(
        base.PROTOCOL, "0.4", ["dllama-py"], "inference", {"dim": 64}, 2, "q80", "reduce", 1,
        32, 256, "f32", "avx2", 42,
        (session.RankAddress(0, "local"), session.RankAddress(1, "h:1")),
    ),
    session.Plan(
        (session.PlannedRank(0, (0, 4), (0, 2), (0, 96), (0, 128), 1000, 200, 30),),
        ((0, 1, 68, 1), (1, 0, 68, 1)),
    ),
    session.Collective(
        "auto", ((1, "mesh"), (9, "two-shot")), 41.5, 3.5, 940.0, (1, 32), {"mesh": (45.0, 99.0)}
    ),
    loading.Progress("load", 5, 10, "bytes"),
    loading.Ready(1.5, (COUNT,)),
    session.Lost(2, "h:2", "WorkerLost", "worker 2 is gone", "replay"),
    session.Recovered(2, 7, 1.5),
    request.Request("Hello", 2, [1, 5], 8, 0.0, 0.9, 7),
    request.Step("prefill", 0, 0, 6, 1, 5, 3.5, 0.5, None, None, None, {}, (COUNT,), 30),
    request.Step(
        "decode", 0, 6, 1, 5, 9, 3.5, 0.5, 17, "é", ((17, 3.5), (2, 1.25)),
        {"SYNC_LOGITS": [1.5]}, (COUNT,), 30,
    ),
    request.Done(*DONE),
    request.Scored(*DONE, perplexity=2.0, avg_log_prob=-0.69),
    ranks.Rank(
        1, "pi", 43, 1 << 20, None, 1000, 200, 8.5, 1.5, (COUNT,), (SPANS,),
        (ranks.LinkTimes(0, TIMES, TIMES),), (TCP,), (NIC,), role="worker", address="h:1",
    ),
    session.TracePart(0, 2, "eJw="),
    network.Network(
        (LinkStats(1, 9, 90, 80, 98, 2.0, 3.0, 1.0, 2.0, 3.0, 3.0, 75.5),),
        (OpStats("SYNC_LOGITS", 9, 98, 2.0, 2.1, 2.5, 2.75, 3.0),),
    ),
    worker.Listening("127.0.0.1", 9999, 42),
    worker.SessionStart("127.0.0.1:5"),
    worker.SessionEnd("the root ended the session"),
    process.Error("WorkerLost", "worker 2 is gone", 2),
    process.End(1),
)  # fmt: skip
OF_OTHER_ENGINES = {
    "network": {"total"},
    "done": {"unknown"},
}  # fields that the reader knows and this engine has not
UNREAD = {worker.SessionStart, worker.SessionEnd}


def written(event: base.Event) -> str:
    line = io.BytesIO()
    EventWriter(line).emit(event, t_ns=5)
    return line.getvalue().decode()


def names(model: type[BaseModel]) -> dict[str, str]:
    """A field's name in the stream, by its name in the reader."""
    found = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        found[name] = str(alias.choices[0]) if isinstance(alias, AliasChoices) else name
    return found


def compare(read: BaseModel, told: dict[str, Any], where: str) -> None:
    """Every field that the reader knows is there, under its name and with its value."""
    for name, told_as in names(type(read)).items():
        if told_as in OF_OTHER_ENGINES.get(where, ()):
            continue
        assert told_as in told, f"{where}: the engine has no {told_as}"
        value, expected = getattr(read, name), told[told_as]
        if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for part, told_part in zip(value, expected, strict=True):
                compare(part, told_part, f"{where}.{told_as}")
        elif isinstance(value, BaseModel):
            compare(value, expected, f"{where}.{told_as}")
        else:
            assert json.loads(json.dumps(value)) == expected, f"{where}.{told_as}"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_the_reader_finds_every_field_under_its_name(event: base.Event) -> None:
    line = written(event)
    read = parse_event(line)
    if type(event) in UNREAD:
        assert read is None
        return
    assert read is not None
    compare(read, json.loads(line), event.NAME)


def test_every_event_of_the_vocabulary_is_among_these() -> None:
    modules = [import_module(f"{events.__name__}.{m.name}") for m in iter_modules(events.__path__)]
    known = [value for module in modules for value in vars(module).values()]
    classes = {value for value in known if isinstance(value, type)}
    kinds = {kind for kind in classes if issubclass(kind, base.Event)} - {base.Event}
    assert {type(event) for event in EVENTS} == kinds
    read = {
        get_args(kind.model_fields["event"].annotation)[0]
        for kind in get_args(get_args(stream.Event)[0])
    }
    unread = {kind.NAME for kind in UNREAD}
    # "note" is what a backend says of another engine's figures.
    assert read - {"note"} == {event.NAME for event in EVENTS} - unread


def test_a_line_begins_with_its_name_and_time_and_parts_are_objects() -> None:
    line = json.loads(written(EVENTS[4]))
    assert list(line) == ["event", "t_ns", "load_s", "links", "shares"]
    assert line["links"] == [dataclasses.asdict(COUNT)]
    assert "é" in written(EVENTS[9])  # as text, for people who look


def test_events_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        process.End(0).exit_code = 1  # type: ignore[misc]
