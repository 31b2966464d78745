"""What ui.perfetto.dev demands of a file of Chrome's trace events, checked to the letter."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.engine.tracing.importer import TO_NS, imported

Event = dict[str, Any]

_COMMON = {"ph", "pid", "tid", "name"}
_FIELDS = {
    "M": _COMMON | {"args"},
    "X": _COMMON | {"ts", "dur", "args"},
    "s": _COMMON | {"ts", "id", "cat"},
    "f": _COMMON | {"ts", "id", "cat", "bp"},
}
_NAMING = {"process_name", "process_sort_index", "thread_name", "thread_sort_index"}


def problems(trace: Any) -> list[str]:
    """All that is wrong with a file of trace events; the first few are enough to see."""
    if not isinstance(trace, dict) or not isinstance(trace.get("traceEvents"), list):
        return ["no object with a list traceEvents"]
    if "displayTimeUnit" in trace:
        return ["displayTimeUnit: older importers take it for the unit of all times"]
    events: list[Event] = trace["traceEvents"]
    found = [*_fields(events), *_names(events)]
    return found or [*_order(events), *_arrows(events), *_imported(events)]


def _fields(events: Sequence[Event]) -> Iterator[str]:
    for i, event in enumerate(events):
        phase = event.get("ph")
        if phase not in _FIELDS or set(event) != _FIELDS[phase]:
            yield f"event {i}: fields {sorted(event)} of phase {phase!r}"
            continue
        yield from (
            f"event {i}: {key} {event[key]!r}"
            for key, is_right in _KINDS.items()
            if key in event and not is_right(event[key])
        )
        if event["tid"] == event["pid"]:
            yield f"event {i}: track {event['tid']} is the main thread of its process"
        if phase == "M" and not _is_naming(event["name"], event["args"]):
            yield f"event {i}: metadata {event['name']!r}, {event['args']}"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_KINDS: dict[str, Callable[[Any], bool]] = {
    "pid": lambda value: _is_whole(value) and value < 2**32,
    "tid": lambda value: _is_whole(value) and value < 2**32,
    "id": lambda value: _is_whole(value) and value < 2**53,
    "ts": _is_time,
    "dur": _is_time,
    "name": _is_text,
    "cat": _is_text,
    "bp": lambda value: value == "e",
    "args": lambda value: isinstance(value, dict),
}


def _is_naming(name: str, args: Event) -> bool:
    """A name is a text, a place in the order is a number."""
    if name.endswith("sort_index"):
        return name in _NAMING and set(args) == {"sort_index"} and _is_whole(args["sort_index"])
    return name in _NAMING and set(args) == {"name"} and _is_text(args["name"])


def _names(events: Sequence[Event]) -> Iterator[str]:
    """Every process and every track has one name."""
    named: defaultdict[tuple[int, int, str], int] = defaultdict(int)
    for event in events:
        if event["ph"] == "M":
            tid = event["tid"] if event["name"].startswith("thread") else 0
            named[event["pid"], tid, event["name"]] += 1
    yield from (f"{key} is named {n} times" for key, n in named.items() if n != 1)
    for pid, tid in {(event["pid"], event["tid"]) for event in events if event["ph"] != "M"}:
        for key in ((pid, 0, "process_name"), (pid, tid, "thread_name")):
            if key not in named:
                yield f"{key} has no name"


def _order(events: Sequence[Event]) -> Iterator[str]:
    """On a track slices come in the order of time."""
    last: defaultdict[tuple[int, int], float] = defaultdict(float)
    for event in events:
        if event["ph"] == "X":
            track = (event["pid"], event["tid"])
            if event["ts"] < last[track]:
                yield f"{track}: {event['name']} at {event['ts']} comes after {last[track]}"
            last[track] = event["ts"]


def _imported(events: Sequence[Event]) -> Iterator[str]:
    """Nothing gets lost, and an arrow joins the two slices of its message."""
    for to_ns in TO_NS:
        found = imported(events, to_ns)
        yield from (f"{to_ns.__name__}: {n} x {name}" for name, n in found.errors.items())
        yield from (f"{to_ns.__name__}: {event}" for event in found.first_errors)
        if found.slices != sum(event["ph"] == "X" for event in events):
            yield f"{to_ns.__name__}: {found.slices} slices"
        if len(found.flows) != sum(event["ph"] == "f" for event in events):
            yield f"{to_ns.__name__}: {len(found.flows)} arrows"
        for left, arrived in found.flows:
            if left["args"]["number"] != arrived["args"]["number"]:
                yield f"{to_ns.__name__}: an arrow from {left} to {arrived}"


def _arrows(events: Sequence[Event]) -> Iterator[str]:
    """Every arrow has one begin and one end."""
    ends: defaultdict[int, list[str]] = defaultdict(list)
    for event in events:
        if event["ph"] in "sf":
            ends[event["id"]].append(event["ph"])
    yield from (
        f"arrow {name}: {seen}" for name, seen in ends.items() if sorted(seen) != ["f", "s"]
    )
