"""What Perfetto's trace processor makes of a file of Chrome's trace events, after its importer.

It takes times to whole nanoseconds, sorts all events by them (those at the same time stay in the
order of the file), and puts slices on the stack of their track. What ends before another begins is
taken off; what begins in one and ends behind it is dropped or moved elsewhere, and counted as an
error, as is what would be the 513th on its stack. An arrow's end belongs to the slice on top of its
track's stack, or waits for the next one if it does not say `"bp":"e"`; its id is a whole number of
64 bits, or a text that is one to the base 16. A track without an id has that of its process. Read
in `src/trace_processor/importers` of August 2026; it rounds times since 2025 and cut their
fractions off before.

Stricter than Perfetto in three things: a longer slice that begins with another one must stand
before it in the file, an arrow's end that waits for a slice is none, and in front of an id of
hexadecimal digits stands neither a space nor a sign.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
Track = tuple[int, int]
Rounding = Callable[[float], int]
MAX_DEPTH = 512


def rounded(value: float) -> int:
    """As it reads times now."""
    return math.floor(value + 0.5)


TO_NS: tuple[Rounding, ...] = (rounded, math.trunc)


@dataclass
class Imported:
    """Its tables `slice`, `flow` and `stats`."""

    slices: int = 0
    flows: list[tuple[Event, Event]] = field(default_factory=list)  # the slices that are joined
    errors: Counter[str] = field(default_factory=Counter)
    first_errors: list[Event] = field(default_factory=list)

    def refuse(self, name: str, event: Event) -> None:
        """One more in `stats`."""
        self.errors[name] += 1
        if len(self.first_errors) < 3:
            self.first_errors.append(event)


def imported(events: Sequence[Event], to_ns: Rounding = rounded) -> Imported:
    """Load the events; those of metadata stand at time 0."""
    found = Imported()
    stacks: defaultdict[Track, list[tuple[int, int, Event]]] = defaultdict(list)
    begun: dict[tuple[int, str, str], Event] = {}
    timed = [(to_ns(event.get("ts", 0) * 1000), event) for event in events]
    for ns, event in sorted(timed, key=lambda pair: pair[0]):
        stack = stacks[event["pid"], event["tid"] or event["pid"]]
        if event["ph"] == "X":
            _put(found, stack, ns, to_ns(event["dur"] * 1000), event)
        elif event["ph"] in "sf":
            _join(found, begun, stack[-1][2] if stack else None, event)
    return found


def _put(
    found: Imported, stack: list[tuple[int, int, Event]], ns: int, dur: int, event: Event
) -> None:
    """A slice on its track's stack, if it lies beside or in what is there."""
    if dur < 0:
        found.refuse("slice_negative_duration", event)
        return
    for begin, length, _ in reversed(stack.copy()):
        end = begin + length
        if end < ns or (end == ns and (length or dur)):
            stack.pop()
        elif ns < end < ns + dur:
            found.refuse("slice_drop_overlapping_complete_event", event)
            return
    if len(stack) >= MAX_DEPTH:
        found.refuse("slice_max_depth_exceeded", event)
        return
    stack.append((ns, dur, event))
    found.slices += 1


def _join(
    found: Imported, begun: dict[tuple[int, str, str], Event], top: Event | None, event: Event
) -> None:
    """One end of an arrow."""
    number = _number(event.get("id"))
    if number is None:
        found.refuse("flow_invalid_id", event)
        return
    key = (number, event["cat"], event["name"])
    if event["ph"] == "f" and event.get("bp") != "e":
        return  # its slice is the next that ends on the track: a guess, and no row yet
    if top is None:
        found.refuse("flow_no_enclosing_slice", event)
    elif event["ph"] == "s" and key in begun:
        found.refuse("flow_duplicate_id", event)
    elif event["ph"] == "s":
        begun[key] = top
    elif key not in begun:
        found.refuse("flow_end_without_start", event)
    else:
        found.flows.append((begun[key], top))


def _number(name: Any) -> int | None:
    """An arrow's id; None: it is none."""
    if isinstance(name, str):
        return int(name, 16) if re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,16}", name) else None
    is_whole = isinstance(name, int) and not isinstance(name, bool)
    return name % 2**64 if is_whole and -(2**63) <= name < 2**63 else None
