"""A trace: the events of one measured request, put in order and checked to be complete.

Knows nothing of processes; a trace from a live engine and one from a log file are the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pytest_dllama.events.base import BaseEvent
from pytest_dllama.events.ranks import Network, Rank
from pytest_dllama.events.request import Done, RequestStart, Step
from pytest_dllama.events.session import (
    Collective,
    Error,
    Lost,
    Note,
    Plan,
    Ready,
    Start,
    TracePart,
)
from pytest_dllama.events.stream import Event

E = TypeVar("E", bound=BaseEvent)


class TraceError(RuntimeError):
    """A request that has no usable trace: the engine's error, or what is missing."""

    def __init__(self, message: str, kind: str = "TraceError", rank: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.rank = rank


@dataclass(frozen=True, slots=True)
class Picked:
    """What an engine made of an option that was `auto`; the value asks for just that."""

    option: Literal["collective", "overlap"]
    value: str

    def __str__(self) -> str:
        """For a note."""
        return f"--{self.option} auto picked {self.value}"


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """One request from its start to its last token."""

    request: RequestStart
    steps: tuple[Step, ...]
    done: Done
    start: Start | None = None
    plan: Plan | None = None
    ready: Ready | None = None
    ranks: tuple[Rank, ...] = ()
    network: Network | None = None
    notes: tuple[str, ...] = ()  # what a reader must know
    trace_parts: tuple[TracePart, ...] = ()  # of a file for Perfetto, where one was asked for
    invalid: tuple[str, ...] = ()  # why the figures may not be believed, by the engine's backend
    picked: tuple[Picked, ...] = ()  # of options that were auto

    @property
    def prefill_steps(self) -> tuple[Step, ...]:
        """The prompt's batches."""
        return tuple(step for step in self.steps if step.phase == "prefill")

    @property
    def decode_steps(self) -> tuple[Step, ...]:
        """The steps that gave a token."""
        return tuple(step for step in self.steps if step.phase == "decode")

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The output tokens."""
        return tuple(s.token_id for s in self.decode_steps if s.token_id is not None)

    @property
    def tokens(self) -> tuple[int | str, ...]:
        """The output tokens: their ids, or the printed pieces of an engine that tells no ids."""
        return self.token_ids or self.pieces

    @property
    def pieces(self) -> tuple[str, ...]:
        """The output tokens' texts; "" for one that prints nothing by itself."""
        return tuple(step.piece or "" for step in self.decode_steps if step.gave_token)

    @property
    def text(self) -> str:
        """The generated text, as the engine decoded it."""
        if self.done.text is not None:
            return self.done.text
        return "".join(step.piece or "" for step in self.decode_steps)


def build_traces(events: Sequence[Event], requests: int) -> tuple[RequestTrace, ...]:
    """The traces of an engine that ran its request so often, each from a `start` of its own.

    Raises:
        TraceError: as `build_trace`, or the request was run less or more often.
    """
    starts = [i for i, event in enumerate(events) if isinstance(event, Start)]
    if requests == 1 or len(starts) < 2:
        traces = [build_trace(events)]
    else:
        ends = [*starts[1:], len(events)]
        traces = [build_trace(events[i:end]) for i, end in zip(starts, ends, strict=True)]
    if len(traces) != requests:
        raise TraceError(f"the engine ran its request {len(traces)} times, not {requests}")
    return tuple(traces)


def build_trace(events: Iterable[Event]) -> RequestTrace:
    """The trace of one request.

    Raises:
        TraceError: the engine reported an error, or the stream ended before the request did.
    """
    told = list(events)
    if errors := _all(told, Error):
        first = errors[0]  # the others follow from it
        raise TraceError(first.message, first.type, first.rank)
    steps = _all(told, Step)
    request, done = _last(told, RequestStart), _last(told, Done)
    if request is None or done is None:
        raise TraceError(f"the engine's events end after {_last_phase(told)}")
    if not any(step.gave_token for step in steps):
        raise TraceError("the request gave no output token; ask for more --steps")
    notes = [_loss(e) if isinstance(e, Lost) else e for e in told if isinstance(e, Note | Lost)]
    return RequestTrace(
        request=request,
        steps=steps,
        done=done,
        start=_last(told, Start),
        plan=_last(told, Plan),
        ready=_last(told, Ready),
        ranks=tuple(sorted(_all(told, Rank), key=lambda rank: rank.rank)),
        network=_last(told, Network),
        notes=tuple(note.text for note in notes if not note.invalid),
        trace_parts=_all(told, TracePart),
        invalid=tuple(note.text for note in notes if note.invalid),
        picked=_picked(_last(told, Collective)),
    )


def _all(told: Sequence[Event], kind: type[E]) -> tuple[E, ...]:
    return tuple(event for event in told if isinstance(event, kind))


def _last(told: Sequence[Event], kind: type[E]) -> E | None:
    return next((event for event in reversed(told) if isinstance(event, kind)), None)


def _loss(event: Lost) -> Note:
    """Times that hold a loss, and the waiting for its end, are nobody's speed."""
    text = f"a rank was lost and the request was run again: {event.message}"
    return Note(event="note", text=text, invalid=True)


def _picked(event: Collective | None) -> tuple[Picked, ...]:
    """What the engine chose where that was left to it."""
    if event is None:
        return ()
    found = []
    if event.asked == "auto":
        parts = (name if tokens == 1 else f"{name}@{tokens}" for tokens, name in event.picks)
        found.append(Picked("collective", ",".join(parts)))
    if event.overlap == "auto":
        words = {None: "off", 2: "on"}
        found.append(Picked("overlap", words.get(event.halves_from, f"on@{event.halves_from}")))
    return tuple(found)


def _last_phase(told: Sequence[Event]) -> str:
    """How far a stream came, in words."""
    if steps := _all(told, Step):
        return f"{len(steps)} steps of the request"
    if _last(told, RequestStart):
        return "the start of the request"
    return "loading" if _last(told, Ready) else "no sign of a request"
