"""The vocabulary of the event stream: one frozen dataclass an event, in the order of a run.

A program that reads the stream knows it by `PROTOCOL`. Fields may be added under the same number;
one that is renamed, removed or of another meaning raises it. Times are of `time.perf_counter_ns`
on the process that writes; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from dllama_engine.telemetry.network_stats import LinkStats, OpStats
from dllama_engine.wire.trace import LinkCount

PROTOCOL = 1

Remedy = Literal["replay", "shrink"]
FinishReason = Literal["steps", "context", "eos"]
Phase = Literal["prefill", "decode"]
Source = Literal["mapped", "cache", "sent"]
Top = tuple[tuple[int, float], tuple[int, float]]  # (token id, logit), best first


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `NAME` is its name in the stream."""

    NAME: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Its name and its fields; parts that are dataclasses stay so (`EventWriter`)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"event": self.NAME} | values


# -- a root, before its request -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RankAddress:
    """Where a rank is, as the root reaches it; the root itself is "local"."""

    rank: int
    address: str


@dataclass(frozen=True, slots=True)
class Start(Event):
    """The process knows what it will run."""

    NAME: ClassVar[str] = "start"

    protocol: int
    version: str
    argv: list[str]
    mode: str
    model: dict[str, Any]  # path, size_bytes and the header's values
    world_size: int
    buffer_float_type: str
    sync_mode: str
    nthreads: int
    batch_size: int
    max_seq_len: int
    kv_type: str
    cpu: str
    pid: int
    ranks: tuple[RankAddress, ...]


@dataclass(frozen=True, slots=True)
class PlannedRank:
    """What one rank holds: half-open ranges of units, and bytes."""

    rank: int
    heads: tuple[int, int]
    kv_heads: tuple[int, int]
    ffn: tuple[int, int]
    vocab: tuple[int, int]
    weight_bytes: int
    kv_cache_bytes: int
    buffer_bytes: int


@dataclass(frozen=True, slots=True)
class Plan(Event):
    """How the model is split, and what one decoded token moves over each directed link."""

    NAME: ClassVar[str] = "plan"

    ranks: tuple[PlannedRank, ...]
    decode_payload_bytes: tuple[tuple[int, int, int, int], ...]  # src, dst, bytes, messages


@dataclass(frozen=True, slots=True)
class Collective(Event):
    """How nodes exchange; where `auto` was asked for, what was probed and what the model says.

    `picks` are (tokens, name): which collective serves batches from so many tokens on. Costs are a
    round in which each node sends one empty frame, a further message of a node in the same round,
    and the rate of a node's bytes; `predicted_us` is one exchange by each name at each of `sizes`.
    Batches of `halves_from` tokens and more go in halves, one sent while the other is computed;
    `layer_us` is what the model says of a layer of the largest batch: whole, and in halves.
    """

    NAME: ClassVar[str] = "collective"

    asked: str
    picks: tuple[tuple[int, str], ...]
    round_us: float | None
    message_us: float | None
    rate_mbps: float | None
    sizes: tuple[int, ...]
    predicted_us: dict[str, tuple[float, ...]]
    overlap: str = "off"
    halves_from: int | None = None
    layer_us: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Connecting or loading goes on."""

    NAME: ClassVar[str] = "progress"

    phase: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class ShareLoad:
    """How a worker came to its weights: the root's file, its own cache, or all of it sent.

    `expected_bytes` is the closed form of `sent_bytes`: the pieces that it did not have.
    """

    rank: int
    source: Source
    cached_bytes: int
    sent_bytes: int
    expected_bytes: int


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """Every rank holds its weights; `links` is what set-up and loading moved over the links."""

    NAME: ClassVar[str] = "ready"

    load_s: float
    links: tuple[LinkCount, ...]
    shares: tuple[ShareLoad, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """A rank is lost, and the request is not given up: what is tried first."""

    NAME: ClassVar[str] = "lost"

    rank: int | None
    address: str | None
    type: str
    message: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Recovered(Event):
    """A fresh session stands where the lost one stood; the step under way is run again."""

    NAME: ClassVar[str] = "recovered"

    world_size: int
    replayed_steps: int
    took_s: float


# -- a request ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request(Event):
    """The clock of the request starts (before tokenizing)."""

    NAME: ClassVar[str] = "request"

    prompt: str
    n_input_tokens: int
    input_ids: list[int]
    steps: int
    temperature: float
    topp: float
    seed: int


@dataclass(frozen=True, slots=True)
class Step(Event):
    """One forward pass: a prefill batch, or one decoded token, which was in hand at `end_ns`."""

    NAME: ClassVar[str] = "step"

    phase: Phase
    index: int  # within its phase
    pos: int
    n_tokens: int
    start_ns: int
    end_ns: int
    compute_us: float
    sync_us: float
    token_id: int | None
    piece: str | None
    top: Top | None
    sync_durations_us: dict[str, list[float]]  # by operation
    links: tuple[LinkCount, ...]
    expected_payload_bytes: int  # of the root's links, by the plan's closed form


@dataclass(frozen=True, slots=True)
class Done(Event):
    """The request is complete; its own figures, by the definitions of METRICS."""

    NAME: ClassVar[str] = "done"

    n_input_tokens: int
    n_output_tokens: int
    prefill_s: float
    decode_s: float
    ttft_s: float | None
    rct_s: float | None
    finish_reason: FinishReason
    text: str


@dataclass(frozen=True, slots=True)
class Scored(Done):
    """The end of a request that scored a text: a `done` with its perplexity."""

    perplexity: float
    avg_log_prob: float  # natural logarithm, a token


@dataclass(frozen=True, slots=True)
class PhaseSpans:
    """Where a rank's time went in a phase; prefill is all up to the first token.

    What no span covers is the difference to the phase's duration.
    """

    phase: Phase
    steps: int
    us: dict[str, float]  # by kind of work (`tables.spans.NAMES`)
    waited_us: tuple[tuple[int, float], ...]  # (peer whose message came last, nothing moved)


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram of times on a logarithmic scale; no time is off by more than 0.8 %.

    `counts` are (ns, how many): the middle of a bucket, and the times that belong to it.
    """

    n: int
    sum_us: float  # exactly, as the largest is
    max_us: float
    counts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """Every exchange of the request in which a frame of that peer was due.

    How long until the frame was whole, and how long nothing moved until it began to come; 0 where
    another one came later.
    """

    peer: int
    duration: Times
    waiting: Times


@dataclass(frozen=True, slots=True)
class TcpCount:
    """What the kernel knows of one socket: round trips at the end, counters of the request."""

    peer: int
    interface: str | None
    rtt_us: int
    rttvar_us: int
    min_rtt_us: int
    retransmits: int
    segments: int  # with data, sent
    delivery_mbps: float


@dataclass(frozen=True, slots=True)
class NicCount:
    """What an interface moved during the request, for whatever program; errors and drops."""

    name: str
    sent_bytes: int
    recv_bytes: int
    sent_errors: int
    recv_errors: int
    own_sent_bytes: int  # of them over this rank's links, without the headers of TCP and IP
    own_recv_bytes: int


@dataclass(frozen=True, slots=True)
class Rank(Event):
    """One process's account of the session."""

    NAME: ClassVar[str] = "rank"

    rank: int
    role: Literal["root", "worker"]
    address: str
    hostname: str
    pid: int
    peak_rss_bytes: int
    peak_pss_bytes: int | None
    weight_bytes: int
    kv_cache_bytes: int
    compute_us: float
    sync_us: float
    links: tuple[LinkCount, ...]
    spans: tuple[PhaseSpans, ...]  # none where they were not counted
    times: tuple[LinkTimes, ...] = ()  # nor these, then
    tcp: tuple[TcpCount, ...] = ()  # none where the kernel does not tell
    nics: tuple[NicCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Network(Event):
    """Statistics over all operations of the root, by link and by kind of operation."""

    NAME: ClassVar[str] = "network"

    links: tuple[LinkStats, ...]
    ops: tuple[OpStats, ...]


@dataclass(frozen=True, slots=True)
class TracePart(Event):
    """A piece of the file that `--trace -` asks for, in order: base64 of its zlib stream."""

    NAME: ClassVar[str] = "trace_part"

    index: int
    parts: int
    data: str


# -- a worker -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listening(Event):
    """A worker accepts sessions."""

    NAME: ClassVar[str] = "listening"

    host: str
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class SessionStart(Event):
    """A root has come to a worker."""

    NAME: ClassVar[str] = "session_start"

    peer: str


@dataclass(frozen=True, slots=True)
class SessionEnd(Event):
    """A worker's session is over."""

    NAME: ClassVar[str] = "session_end"

    reason: str


# -- every process --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Error(Event):
    """The process gives up; `rank` is the one that was lost, if that is why."""

    NAME: ClassVar[str] = "error"

    type: str
    message: str
    rank: int | None


@dataclass(frozen=True, slots=True)
class End(Event):
    """The last line of a process."""

    NAME: ClassVar[str] = "end"

    exit_code: int
