"""The event stream: what a root or worker tells about itself, one JSON object a line.

The embedded engine writes these lines; a backend for another engine makes the same events from
that engine's own text. Times are nanoseconds of one monotonic clock on the root. A field that an
engine cannot know is None, and a field unknown here is ignored, so that engines may add some.

Names that older engines wrote (phases "eval" and "pred", `n_batches`) are read for ever: an older
revision may be the baseline of a newer one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)


class EventFormatError(ValueError):
    """A line that should be an event and is not; the message shows the line."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    t_ns: int = 0


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LinkCount(_Part):
    """What one socket moved: in one step, or over a request."""

    peer: int
    sent_payload_bytes: int
    sent_framing_bytes: int = 0
    recv_payload_bytes: int
    recv_framing_bytes: int = 0
    sent_messages: int = 0
    recv_messages: int = 0
    busy_us: float | None = None

    @property
    def payload_bytes(self) -> int:
        """Payload in both directions."""
        return self.sent_payload_bytes + self.recv_payload_bytes

    @property
    def framing_bytes(self) -> int:
        """Frame headers in both directions."""
        return self.sent_framing_bytes + self.recv_framing_bytes


class Start(_Event):
    """The process knows what it will run."""

    event: Literal["start"]
    protocol: int | None = None  # number of the stream's vocabulary; older engines tell none
    version: str | None = None
    world_size: int = 1
    cpu: str | None = None
    batch_size: int | None = Field(
        default=None, validation_alias=AliasChoices("batch_size", "n_batches")
    )


class Plan(_Event):
    """How the model is split; one decode step's payload by (source, destination)."""

    event: Literal["plan"]
    decode_payload_bytes: tuple[tuple[int, int, int, int], ...] = ()  # src, dst, bytes, messages


class Collective(_Event):
    """How the nodes exchange, and what `auto` picked."""

    event: Literal["collective"]
    asked: str
    picks: tuple[tuple[int, str], ...]  # from so many tokens on: name
    overlap: str = "off"
    halves_from: int | None = None  # batches of so many tokens go in halves


class Progress(_Event):
    """Connecting or loading goes on."""

    event: Literal["progress"]
    phase: str
    done: float
    total: float
    unit: str = ""


class ShareLoad(_Part):
    """How a worker came to its weights; `expected_bytes` is the closed form of `sent_bytes`."""

    rank: int
    source: str  # mapped, cache or sent
    cached_bytes: int
    sent_bytes: int
    expected_bytes: int


class Ready(_Event):
    """Every rank holds its weights."""

    event: Literal["ready"]
    load_s: float | None = None
    shares: tuple[ShareLoad, ...] = ()


class Lost(_Event):
    """A rank was lost, and the engine did not give the request up."""

    event: Literal["lost"]
    rank: int | None = None
    address: str | None = None
    type: str = "EngineError"
    message: str
    remedy: str


class Recovered(_Event):
    """The engine runs again what was run, on a fresh session."""

    event: Literal["recovered"]
    world_size: int
    replayed_steps: int
    took_s: float


class RequestStart(_Event):
    """The clock of the request starts (before tokenizing)."""

    event: Literal["request"]
    n_input_tokens: int
    input_ids: tuple[int, ...] = ()


_OLD_PHASES = {"eval": "prefill", "pred": "decode"}


def _phase_of_today(phase: object) -> object:
    return _OLD_PHASES.get(phase, phase) if isinstance(phase, str) else phase


Phase = Annotated[Literal["prefill", "decode"], BeforeValidator(_phase_of_today)]


class Step(_Event):
    """One forward pass: a prefill batch or one decoded token."""

    event: Literal["step"]
    phase: Phase
    index: int
    pos: int = 0
    n_tokens: int
    start_ns: int
    end_ns: int
    compute_us: float | None = None
    sync_us: float | None = None
    token_id: int | None = None
    piece: str | None = None
    top: tuple[tuple[int, float], ...] | None = None  # (token id, logit), best first
    sync_durations_us: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    links: tuple[LinkCount, ...] = ()
    expected_payload_bytes: int | None = None

    @property
    def gave_token(self) -> bool:
        """Whether it generated a token; an engine may tell its text and not its id."""
        return self.token_id is not None or self.piece is not None


class Done(_Event):
    """The request is complete; the engine's own phase times."""

    event: Literal["done"]
    n_input_tokens: int
    n_output_tokens: int
    prefill_s: float | None = None
    decode_s: float | None = None
    unknown: tuple[str, ...] = ()  # figures of a sample that the engine's output cannot tell
    ttft_s: float | None = None
    rct_s: float | None = None
    finish_reason: str | None = None
    text: str | None = None


class PhaseSpans(_Part):
    """Where a rank's time went in a phase; prefill is all up to the first token."""

    phase: Phase
    steps: int
    us: dict[str, float] = Field(default_factory=dict)  # by kind of work
    waited_us: tuple[tuple[int, float], ...] = ()  # (peer whose message came last, nothing moved)


class Times(_Part):
    """A histogram of times: (ns, how many), the largest and the sum exactly."""

    n: int
    sum_us: float
    max_us: float
    counts: tuple[tuple[int, int], ...] = ()


class LinkTimes(_Part):
    """All exchanges of the request in which a frame of a peer was due."""

    peer: int
    duration: Times
    waiting: Times


class TcpCount(_Part):
    """What the kernel told of one socket: round trips at the end, counters of the request."""

    peer: int
    interface: str | None = None
    rtt_us: int
    rttvar_us: int
    min_rtt_us: int
    retransmits: int
    segments: int
    delivery_mbps: float


class NicCount(_Part):
    """What an interface moved during the request."""

    name: str
    sent_bytes: int
    recv_bytes: int
    sent_errors: int
    recv_errors: int
    own_sent_bytes: int
    own_recv_bytes: int


class Rank(_Event):
    """One process's account of the request."""

    event: Literal["rank"]
    rank: int
    role: Literal["root", "worker"]
    address: str = ""
    hostname: str = ""
    pid: int | None = None
    peak_rss_bytes: int | None = None
    peak_pss_bytes: int | None = None
    weight_bytes: int | None = None
    kv_cache_bytes: int | None = None
    compute_us: float | None = None
    sync_us: float | None = None
    links: tuple[LinkCount, ...] = ()
    spans: tuple[PhaseSpans, ...] = ()
    times: tuple[LinkTimes, ...] = ()
    tcp: tuple[TcpCount, ...] = ()
    nics: tuple[NicCount, ...] = ()


class NetworkLink(_Part):
    """All operations of one socket of the root."""

    peer: int
    operations: int
    sent_bytes: int
    recv_bytes: int
    payload_bytes: int = 0
    avg_us: float
    max_us: float
    min_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    bandwidth_mbps: float | None = None


class NetworkOp(_Part):
    """All operations of one kind of collective on the root."""

    op: str
    operations: int
    bytes: int
    avg_us: float | None = None
    p50_us: float | None = None
    p95_us: float | None = None
    p99_us: float | None = None
    max_us: float | None = None


class NetworkTotal(_Part):
    """All operations of the root, from an engine that reports sums in place of durations."""

    operations: int
    avg_us: float | None = None
    max_us: float | None = None
    min_us: float | None = None
    p50_us: float | None = None


class Network(_Event):
    """The root's network report."""

    event: Literal["network"]
    links: tuple[NetworkLink, ...] = ()
    ops: tuple[NetworkOp, ...] = ()
    total: NetworkTotal | None = None


class TracePart(_Event):
    """A piece of a trace file for Perfetto: base64 of its zlib stream."""

    event: Literal["trace_part"]
    index: int
    parts: int
    data: str


class Note(_Event):
    """What a reader must know of the figures; an invalid one forbids to believe them."""

    event: Literal["note"]
    text: str
    invalid: bool = False


class Error(_Event):
    """The engine gave up; `message` says what, the value, the limit and the remedy."""

    event: Literal["error"]
    type: str = "EngineError"
    message: str
    rank: int | None = None


class End(_Event):
    """The last line of a process."""

    event: Literal["end"]
    exit_code: int = 0


class Listening(_Event):
    """A worker accepts sessions."""

    event: Literal["listening"]
    host: str
    port: int
    pid: int | None = None


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
