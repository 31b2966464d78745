"""The run file's data model: what one `pytest suites/` run measured, and all that a report needs.

The JSON is this model, versioned and validated on both writing and reading. Knows nothing of
pytest, hosts or templates. Units stand in the names; a missing value is `null`, never zero.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

CellStatus = Literal["ok", "failed", "skipped"]
OutputStatus = Literal["oracle", "identical", "tie", "different", "unchecked"]
Role = Literal["root", "worker"]
FindingKind = Literal[
    "bits", "memory", "shared_memory", "disk", "swap", "governor", "throttled", "hot", "load",
    "clock", "leftover", "duplex", "slow_link",
]  # fmt: skip


class _Record(BaseModel):
    """Frozen and strict: an unknown key is an error, so that a typo never becomes a lost figure."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Environment(_Record):
    """The controller's machine and versions."""

    hostname: str
    os: str
    machine: str
    cpu_model: str
    cpu_count: int
    memory_bytes: int
    python: str
    numpy: str
    numba: str
    pytest_dllama: str
    board: str | None = None  # e.g. "Raspberry Pi 5 Model B Rev 1.0"


class Request(_Record):
    """What every cell was asked to do."""

    prompt: str
    steps: int | None
    repeats: int
    warmup: int
    nthreads: int | None  # None, here and below: an imported log does not tell
    buffer_float_type: str
    sync_mode: str
    temperature: float | None
    seed: int | None
    node_counts: tuple[int, ...]
    engine: str
    host_kind: Literal["local", "ssh", "log"]
    n_batches: int | None = None  # tokens of one prefill batch


class ModelRecord(_Record):
    """One model of the run, in the order of `--models`."""

    name: str
    model_file: str  # base names only: the report travels
    tokenizer_file: str
    size_bytes: int | None  # None: imported from a log
    arch: str
    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    weight_type: str


class OpStats(_Record):
    """All durations of one kind of collective on the root, over every repeat."""

    op: str  # dllama's names: SYNC_WITH_ROOT, SYNC_NODE_SLICES, SYNC_LOGITS
    operations: int
    bytes: int
    avg_ms: float
    p50_ms: float | None
    p95_ms: float | None  # None: too few samples for this percentile
    p99_ms: float | None
    max_ms: float | None


class LinkStats(_Record):
    """One socket of the root, totals of one request (median repeat)."""

    peer: int
    operations: int
    sent_bytes: int
    recv_bytes: int
    avg_ms: float
    max_ms: float
    min_ms: float
    p50_ms: float
    p95_ms: float | None
    p99_ms: float | None
    bandwidth_mbps: float | None


class NetworkRecord(_Record):
    """The wire as the root saw it in the median repeat; None values where there is no peer."""

    operations: int
    total_bytes: int  # payload + framing, sent + received, all links of the root
    payload_bytes: int | None
    framing_bytes: int | None
    expected_payload_bytes: int | None  # closed form of the shard plan
    bytes_per_token: float | None  # payload of one decode step, root's links
    sync_share: float | None  # time in collectives / step time, root, decode
    avg_ms: float | None
    max_ms: float | None
    min_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    bandwidth_mbps: float | None
    slowest_peer: int | None
    high_variance_peers: tuple[int, ...] = ()  # P95 > 2 * P50
    links: tuple[LinkStats, ...] = ()
    ops: tuple[OpStats, ...] = ()


class RankRecord(_Record):
    """One process of the cell."""

    rank: int
    role: Role
    address: str
    hostname: str
    peak_rss_bytes: int | None
    peak_pss_bytes: int | None
    weight_bytes: int | None
    kv_cache_bytes: int | None
    compute_s: float | None
    sync_s: float | None


class Sample(_Record):
    """One measured request: definitions in METRICS (docs/metrics.md)."""

    n_input_tokens: int
    n_output_tokens: int
    ttft_s: float
    tpot_ms: float | None  # needs two output tokens
    rct_s: float
    tokens_per_s: float
    prefill_tokens: int
    prefill_s: float | None
    decode_tokens: int
    decode_s: float | None
    itl_ms: tuple[float, ...] = ()
    load_s: float | None = None


class Estimate(_Record):
    """A metric over the repeats: the median, and how far the repeats spread."""

    value: float
    minimum: float
    maximum: float
    n: int


class TokenAlternative(_Record):
    """Where two runs part: the oracle's two best tokens there."""

    position: int  # index among the output tokens
    oracle_token_id: int
    oracle_piece: str
    cell_token_id: int
    cell_piece: str
    oracle_margin: float  # logit of its best minus logit of the token the cell chose
    tolerance: float  # margin under which quantized sums may flip the choice


class OutputRecord(_Record):
    """What was generated, and whether it may be believed."""

    text: str
    token_ids: tuple[int, ...]
    status: OutputStatus
    oracle_text: str | None = None
    first_difference: TokenAlternative | None = None
    note: str | None = None


class ThresholdResult(_Record):
    """One threshold against one cell."""

    metric: str
    limit: float
    direction: Literal["max", "min"]
    value: float | None
    margin_percent: float | None  # positive: room left
    passed: bool
    source: str  # file and table that set it


class RooflineRecord(_Record):
    """How fast memory alone would let the cell decode; TPOT cannot be much below `floor_ms`."""

    read_bytes: tuple[int, ...]  # by rank: what it must read for one token, closed form
    limit_ms: float | None = None  # reading all of it, on the machine that takes longest
    floor_ms: float | None = None  # the same, less what the last-level cache could hold
    why_not: Literal["cached", "unmeasured"] | None = None
    detail: str | None = None


class Verdict(_Record):
    """The cell's verdict and each reason for it."""

    status: Literal["PASS", "FAIL", "INVALID", "ERROR"]
    reasons: tuple[str, ...] = ()


class Commands(_Record):
    """Commands that run this cell by hand, as lists of arguments."""

    root: tuple[str, ...]
    workers: tuple[tuple[str, ...], ...] = ()


class CellRecord(_Record):
    """One model on one node count (`nodes` counts the root)."""

    model: str
    nodes: int
    status: CellStatus
    error: str | None = None  # why a failed or skipped cell has no figures
    commands: Commands | None = None
    samples: tuple[Sample, ...] = ()
    metrics: dict[str, Estimate] = Field(default_factory=dict)  # keys: METRIC_NAMES
    ranks: tuple[RankRecord, ...] = ()
    network: NetworkRecord | None = None
    output: OutputRecord | None = None
    roofline: RooflineRecord | None = None
    thresholds: tuple[ThresholdResult, ...] = ()
    verdict: Verdict | None = None
    logs: tuple[str, ...] = ()  # relative to the run file


class NicRecord(_Record):
    """A network interface of a host."""

    name: str
    speed_mbps: int | None
    duplex: str | None
    wireless: bool = False


class HostFinding(_Record):
    """What is wrong with a host; `text` has the remedy, the rest is for other languages."""

    level: Literal["refusal", "warning"]
    kind: FindingKind
    text: str
    values: dict[str, str] = Field(default_factory=dict)


class HostWatch(_Record):
    """What was seen of a host while its processes ran."""

    n_samples: int
    max_temperature_c: float | None
    min_mhz: float | None
    throttled: tuple[str, ...]  # flags that rose while it was watched
    sample_ms: float  # what one look costs, the mean


class HostRecord(_Record):
    """One machine of the run, as it was found before the first cell."""

    name: str
    rank: int
    address: str
    board: str | None
    kernel: str
    machine: str
    bits: int
    cores: int
    memory_bytes: int | None
    available_bytes: int | None
    needed_bytes: int | None = None  # of its shard; None: no model was known
    swap_bytes: int | None
    swap_used_bytes: int | None
    disk_free_bytes: int
    governor: str | None
    max_mhz: float | None
    mhz: float | None
    temperature_c: float | None
    throttled: tuple[str, ...] = ()  # the firmware's flags in words
    load_1min: float
    clock_offset_ms: float | None
    nics: tuple[NicRecord, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    cpu_model: str | None = None
    shares_with: tuple[str, ...] = ()  # hosts that are one machine with it, itself among them
    findings: tuple[HostFinding, ...] = ()
    watch: HostWatch | None = None


class PairRecord(_Record):
    """The way between two hosts that talk, before the first cell."""

    source: str
    target: str
    rtt_ms: float | None = None
    bandwidth_mbps: float | None = None
    error: str | None = None


class MemoryRecord(_Record):
    """What the memory of one machine of the run delivers, as measured in the run."""

    hosts: tuple[str, ...]
    cores: int
    cache_bytes: int | None  # last level, all instances
    bytes_per_s: dict[int, float] = Field(default_factory=dict)  # by number of reading threads
    is_disturbed: bool = False  # other programs ran meanwhile: it may deliver more than measured
    why_not: str | None = None


class RunRecord(_Record):
    """One whole run."""

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    created_utc: str  # ISO 8601
    wall_s: float | None = None
    environment: Environment
    request: Request
    models: tuple[ModelRecord, ...]
    cells: tuple[CellRecord, ...]
    fingerprint: str | None = None  # of the machines: figures of another one are not comparable
    hosts: tuple[HostRecord, ...] = ()  # in rank order; none where all nodes are processes here
    pairs: tuple[PairRecord, ...] = ()
    memory: tuple[MemoryRecord, ...] = ()
    definitions: dict[str, str]  # metric -> its definition, in English
    notes: tuple[str, ...] = ()


# metric -> (unit, better); every key of CellRecord.metrics is one of these.
METRIC_NAMES: dict[str, tuple[str, Literal["lower", "higher", "exact"]]] = {
    "ttft_s": ("s", "lower"),
    "tpot_ms": ("ms", "lower"),
    "rct_s": ("s", "lower"),
    "tokens_per_s": ("1/s", "higher"),
    "prefill_tokens_per_s": ("1/s", "higher"),
    "decode_tokens_per_s": ("1/s", "higher"),
    "sync_share": ("-", "lower"),
    "bytes_per_token": ("B", "exact"),
    "bandwidth_mbps": ("Mbit/s", "higher"),
    "root_peak_rss_bytes": ("B", "lower"),
    "worker_peak_rss_bytes": ("B", "lower"),
    "load_s": ("s", "lower"),
    "roofline_share": ("-", "higher"),
}
