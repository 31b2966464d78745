"""What ui.perfetto.dev demands of a file of Chrome's trace events, checked to the letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

Event = dict[str, Any]

_COMMON = {"ph", "pid", "tid", "name"}
_FIELDS = {
    "M": _COMMON | {"args"},
    "X": _COMMON | {"ts", "dur", "args"},
    "s": _COMMON | {"ts", "id", "cat"},
    "f": _COMMON | {"ts", "id", "cat", "bp"},
}
_NAMING = {"process_name", "process_sort_index", "thread_name", "thread_sort_index"}
_EDGE_US = 0.0015  # of times with three digits


def problems(trace: Any) -> list[str]:
    """All that is wrong with a file of trace events; the first few are enough to see."""
    if not isinstance(trace, dict) or not isinstance(trace.get("traceEvents"), list):
        return ["no object with a list traceEvents"]
    events: list[Event] = trace["traceEvents"]
    found = [*_fields(events), *_names(events)]
    return found or [*_nesting(events), *_arrows(events)]


def _fields(events: Sequence[Event]) -> Iterator[str]:
    for i, event in enumerate(events):
        phase = event.get("ph")
        if phase not in _FIELDS or set(event) != _FIELDS[phase]:
            yield f"event {i}: fields {sorted(event)} of phase {phase!r}"
            continue
        if not all(isinstance(event[key], int) and event[key] >= 0 for key in ("pid", "tid")):
            yield f"event {i}: pid {event['pid']!r}, tid {event['tid']!r}"
        for key in ("ts", "dur"):
            value = event.get(key, 0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                yield f"event {i}: {key} {value!r}"
        if phase == "M" and event["name"] not in _NAMING:
            yield f"event {i}: metadata {event['name']!r}"


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


def _nesting(events: Sequence[Event]) -> Iterator[str]:
    """On a track slices come in the order of time and lie in each other or side by side."""
    tracks: defaultdict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
    for track, slices in tracks.items():
        open_until: list[float] = []
        last = 0.0
        for event in slices:
            start, end = event["ts"], event["ts"] + event["dur"]
            if start < last - _EDGE_US:
                yield f"{track}: {event['name']} at {start} comes after {last}"
            last = start
            while open_until and open_until[-1] <= start + _EDGE_US:
                open_until.pop()
            if open_until and end > open_until[-1] + _EDGE_US:
                yield f"{track}: {event['name']} at {start} ends at {end}, outside {open_until[-1]}"
            open_until.append(end)


def _arrows(events: Sequence[Event]) -> Iterator[str]:
    """Every arrow has one begin and one end, each in a slice of its track."""
    slices: defaultdict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    ends: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        if event["ph"] in "sf":
            ends[event["id"]].append(event["ph"])
            starts = {start for start, _ in slices[event["pid"], event["tid"]]}
            if event["ts"] not in starts:
                yield f"arrow {event['id']}: {event['ph']} at {event['ts']} is in no slice"
    yield from (
        f"arrow {name}: {seen}" for name, seen in ends.items() if sorted(seen) != ["f", "s"]
    )
