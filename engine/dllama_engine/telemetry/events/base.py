"""What every event is.

A program that reads the stream knows it by `PROTOCOL`. Fields may be added under the same number;
one that is renamed, removed or of another meaning raises it. Times are of `time.perf_counter_ns`
on the process that writes; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

PROTOCOL = 1

Phase = Literal["prefill", "decode"]
Top = tuple[tuple[int, float], tuple[int, float]]  # (token id, logit), best first


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `NAME` is its name in the stream."""

    NAME: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Its name and its fields; parts that are dataclasses stay so (`EventWriter`)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"event": self.NAME} | values
