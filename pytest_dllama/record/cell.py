"""One cell of a run file: its samples, metrics, output and verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pytest_dllama.record.base import Record, Role
from pytest_dllama.record.emulation import CellLinks, RankCompute
from pytest_dllama.record.energy import EnergyRecord
from pytest_dllama.record.loading import LoadingRecord
from pytest_dllama.record.network import NetworkRecord

CellStatus = Literal["ok", "failed", "skipped"]
OutputStatus = Literal["oracle", "identical", "tie", "different", "unchecked", "engine_fault"]
# Another output than the oracle's; other bytes than the plan's; faster than memory; repeats that
# disagree; the engine's own word; an emulated link or board that was not kept.
FaultKind = Literal["output", "wire", "roofline", "repeats", "engine", "link", "board"]


class RankRecord(Record):
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


class PartTime(Record):
    """What one kind of work took on one rank: of the time to the first token, or of a later token.

    The parts of rank 0 add up to TTFT and to TPOT.
    """

    phase: Literal["prefill", "decode"]
    part: str  # a kind of span: see PARTS in metrics/parts
    rank: int
    waited_for: int | None = None  # of a waiting exchange: the rank whose message came last
    ms: float  # a decoded token; of prefill: all until the first token was in hand


class Workload(Record):
    """What distinguishes a cell beside model and node count; None: as the request says."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    context_depth: int | None = None  # positions already filled when the clock of a request starts
    options: tuple[tuple[str, str], ...] = ()  # of the engine, as --sweep names them

    @property
    def suffix(self) -> str:
        """What a cell's id ends with.

        >>> Workload(prompt_tokens=64, output_tokens=32, context_depth=128).suffix
        '-pp64-tg32-d128'
        """
        named = (("pp", self.prompt_tokens), ("tg", self.output_tokens), ("d", self.context_depth))
        sizes = [f"-{name}{size}" for name, size in named if size is not None]
        return "".join([*sizes, *(f"-{name}{value}" for name, value in self.options)])


class Sample(Record):
    """One measured request: definitions in METRICS (docs/metrics.md)."""

    n_input_tokens: int | None  # None: an imported log that does not tell
    n_output_tokens: int
    ttft_s: float | None
    tpot_ms: float | None  # needs two output tokens
    rct_s: float | None
    tokens_per_s: float | None
    prefill_tokens: int
    prefill_s: float | None
    decode_tokens: int
    decode_s: float | None
    itl_ms: tuple[float, ...] = ()
    load_s: float | None = None
    start_epoch_s: float | None = None  # when it began, by the controller's clock
    request_j: float | None = None  # energy of all machines of the cell, start to last token
    decode_j: float | None = None  # from the first token to the last
    parts: tuple[PartTime, ...] = ()  # none: the engine does not tell

    @property
    def steady_tpot_ms(self) -> float | None:
        """The steady mean of the gaps: a token's time without hiccups; reads lower than TPOT."""
        return steady_mean(self.itl_ms)


def steady_mean(values: Sequence[float]) -> float | None:
    """Mean of the smaller half; None of nothing.

    Whatever disturbs fewer than half of the values leaves it as it is, so that it varies less than
    the mean of all of them.

    >>> steady_mean([2.0, 2.2, 90.0, 2.4])
    2.1
    """
    smaller = sorted(values)[: math.ceil(len(values) / 2)]
    return math.fsum(smaller) / len(smaller) if smaller else None


class Estimate(Record):
    """A metric over the repeats: the median, and how far the repeats spread."""

    value: float
    minimum: float
    maximum: float
    n: int


# Whose percentiles a cell has: of requests, and last of gaps between two tokens.
TIMES = ("ttft_s", "tpot_ms", "rct_s", "itl_ms")


class Percentiles(Record):
    """Percentiles of a time over a cell: observed values, by nearest rank.

    None where n is too small for a statement of confidence 0.99 (7, 44, 90 and 459 samples).
    """

    n: int
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class TokenAlternative(Record):
    """Where two runs part: the oracle's two best tokens there."""

    position: int  # index among the output tokens
    oracle_token_id: int
    oracle_piece: str
    cell_token_id: int
    cell_piece: str
    oracle_margin: float  # logit of its best minus logit of the token the cell chose
    tolerance: float  # margin under which quantized sums may flip the choice


class OutputRecord(Record):
    """What was generated, and whether it may be believed."""

    text: str
    token_ids: tuple[int, ...]
    status: OutputStatus
    oracle_text: str | None = None
    first_difference: TokenAlternative | None = None
    note: str | None = None


class ThresholdResult(Record):
    """One threshold against one cell."""

    metric: str
    limit: float
    direction: Literal["max", "min"]
    value: float | None
    n: int | None = None  # repeats behind the value; None: an older run file does not tell
    margin_percent: float | None  # positive: room left
    passed: bool
    source: str  # file and table that set it


class RooflineRecord(Record):
    """How fast memory alone would let the cell decode; TPOT cannot be much below `floor_ms`."""

    read_bytes: tuple[int, ...]  # by rank: what it must read for one token, closed form
    limit_ms: float | None = None  # reading all of it, on the machine that takes longest
    floor_ms: float | None = None  # the same, less what the last-level cache could hold
    why_not: Literal["cached", "unmeasured"] | None = None
    detail: str | None = None


class Fault(Record):
    """One thing that keeps the figures of a cell from being believed."""

    kind: FaultKind
    repeat: int | None = None  # from 1; None: not of a single one
    step: int | None = None  # index within its phase; None: not of a single one
    text: str  # one of the verdict's reasons, word for word


class Verdict(Record):
    """The cell's verdict and each reason for it."""

    status: Literal["PASS", "FAIL", "INVALID", "ERROR"]
    reasons: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()  # of INVALID; since schema version 2


class Commands(Record):
    """Commands that run this cell by hand, as lists of arguments."""

    root: tuple[str, ...]
    workers: tuple[tuple[str, ...], ...] = ()


class CellRecord(Record):
    """One model on one node count (`nodes` counts the root)."""

    model: str
    nodes: int
    workload: Workload = Workload()
    status: CellStatus
    retried: str | None = None  # what was lost before it was measured anew
    error: str | None = None  # why a failed or skipped cell has no figures
    max_seq_len: int | None = None  # positions of the KV cache
    commands: Commands | None = None
    samples: tuple[Sample, ...] = ()
    metrics: dict[str, Estimate] = Field(default_factory=dict)  # keys: metrics/catalog
    percentiles: dict[str, Percentiles] = Field(default_factory=dict)  # keys: of TIMES
    ranks: tuple[RankRecord, ...] = ()
    network: NetworkRecord | None = None
    loading: LoadingRecord | None = None  # None: the engine does not tell
    output: OutputRecord | None = None
    roofline: RooflineRecord | None = None
    energy: EnergyRecord | None = None  # None: nobody asked
    thresholds: tuple[ThresholdResult, ...] = ()
    verdict: Verdict | None = None
    links: CellLinks | None = None  # how well emulated ones were kept; None: none were emulated
    computing: tuple[RankCompute, ...] = ()  # of emulated boards, by rank
    logs: tuple[str, ...] = ()  # relative to the run file

    @property
    def id(self) -> str:
        """As in test ids, tables and log names."""
        return f"{self.model}-{self.nodes}{self.workload.suffix}"
