"""The event stream: what a root or worker tells about itself, one JSON object a line.

The embedded engine writes these lines; a backend for another engine makes the same events from
that engine's own text. Times are nanoseconds of one monotonic clock on the root. A field that an
engine cannot know is None, and a field unknown here is ignored, so that engines may add some.

Backends of other packages find every event and part here; its definition stands beside.

Names that older engines wrote (phases "eval" and "pred", `n_batches`) are read for ever: an older
revision may be the baseline of a newer one.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from pytest_dllama.events.base import EventFormatError, LinkCount, Phase
from pytest_dllama.events.ranks import (
    LinkTimes,
    Network,
    NetworkLink,
    NetworkOp,
    NetworkTotal,
    NicCount,
    PhaseSpans,
    Rank,
    TcpCount,
    Times,
)
from pytest_dllama.events.request import Done, RequestStart, Step
from pytest_dllama.events.session import (
    Collective,
    End,
    Error,
    Listening,
    Lost,
    Note,
    Plan,
    Progress,
    Ready,
    Recovered,
    ShareLoad,
    Start,
    TracePart,
)

__all__ = [
    "Collective", "Done", "End", "Error", "Event", "EventFormatError", "LinkCount", "LinkTimes",
    "Listening", "Lost", "Network", "NetworkLink", "NetworkOp", "NetworkTotal", "NicCount", "Note",
    "Phase", "PhaseSpans", "Plan", "Progress", "Rank", "Ready", "Recovered", "RequestStart",
    "ShareLoad", "Start", "Step", "TcpCount", "Times", "TracePart", "parse_event",
]  # fmt: skip

Event = Annotated[
    Start
    | Plan
    | Collective
    | Progress
    | Ready
    | Lost
    | Recovered
    | RequestStart
    | Step
    | Done
    | Rank
    | Network
    | TracePart
    | Note
    | Error
    | End
    | Listening,
    Field(discriminator="event"),
]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Event)
_UNKNOWN_KIND = "union_tag_invalid"


def parse_event(line: str) -> Event | None:
    """One line of the stream; None for a kind of event that nobody here reads.

    Raises:
        EventFormatError: the line is no JSON object, or a field is missing or of a wrong type.
    """
    try:
        event: Event = _ADAPTER.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == _UNKNOWN_KIND:
            return None
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise EventFormatError(f"{where}: {first['msg']} in {line.strip()[:200]!r}") from None
    return event
