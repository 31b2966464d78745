"""One run of the real dllama as its output tells it: raw figures, and which build printed them.

Filled by `log`; knows nothing of lines. What was not printed is None or empty, never zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from pytest_dllama.backends.dllama.printed.traffic import PrintedStep, Shape

Variant = Literal["upstream", "fork", "unknown"]
MAX_NODES = 1024  # a larger count is a damaged line
SLICE = "sliceIndex"  # what a worker before v0.12 has in its head, and no root
_NOT_COUNTED = 2  # upstream's workers are told how many others there are, without the root
_MAX_FIGURE = 10**9  # of a model's dimensions
_END_TOKEN = re.compile(r"</?s>|<\|\w+\|>")
_LEAST_PER_S_AT_0_MS = 1e5  # 0.01 ms a token and more print as such


@dataclass(slots=True)
class StepLine:
    """An Eval or Pred line."""

    phase: Literal["eval", "pred"]
    compute_ms: int | None  # None: this version prints the pass as a whole
    sync_ms: int | None
    sent_kb: int
    recv_kb: int
    n_tokens: int
    piece: str = ""
    wall_ms: int | None = None  # printed by versions before v0.12.8

    @property
    def total_ms(self) -> int:
        """The forward pass as printed; up to 2 ms less than it took."""
        if self.wall_ms is not None:
            return self.wall_ms
        return (self.compute_ms or 0) + (self.sync_ms or 0)

    def printed(self) -> PrintedStep:
        """Its bytes."""
        return PrintedStep(self.n_tokens, self.sent_kb, self.recv_kb)


@dataclass(slots=True)
class PhaseBlock:
    """The Evaluation or Prediction block."""

    n_tokens: int | None = None
    ms_per_token: float | None = None
    has_rate: bool = False
    tokens_per_s: float | None = None

    @property
    def ms_each(self) -> float | None:
        """Milliseconds a token, of the two printed figures the one with more digits.

        >>> round(PhaseBlock(3, 0.20, True, 5119.45).ms_each or 0.0, 4)  # 0.20: from 0.195 on
        0.1953
        """
        if not self.tokens_per_s or not self.ms_per_token:
            return self.ms_per_token or None
        is_finer = self.tokens_per_s > self.ms_per_token  # both have two decimals
        return 1e3 / self.tokens_per_s if is_finer else self.ms_per_token

    @property
    def contradicts_itself(self) -> bool:
        """Whether its two rates are not those of one time."""
        if not self.has_rate or not (self.tokens_per_s or self.ms_per_token):
            return False
        if not self.tokens_per_s:  # inf or nan, which come with 0 ms or nan
            return True
        if not self.ms_per_token:
            return self.tokens_per_s < _LEAST_PER_S_AT_0_MS
        slack = 0.006 * (self.tokens_per_s + self.ms_per_token)
        return abs(self.tokens_per_s * self.ms_per_token - 1e3) > slack

    @property
    def total_ms(self) -> float | None:
        """The phase's forward passes; None when it was not printed, or had no token (nan)."""
        if not self.n_tokens or self.ms_each is None:
            return None
        return self.n_tokens * self.ms_each


@dataclass(frozen=True, slots=True)
class Stall:
    """A wait that dllama complained of."""

    kind: Literal["NET_STALL", "NET_TIMEOUT", "EXEC_STALL"]
    what: str  # readMany, writeMany, ...; for EXEC_STALL the step's type
    stalled_ms: int
    pending_bytes: int | None = None
    sockets: int | None = None
    step: int | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A line of the fork's operation analysis: the first 500 records only."""

    op: str
    operations: int
    mb: float
    avg_ms: float


@dataclass(slots=True)
class MonitorTable:
    """The fork's network report. Every record is booked on socket 0, whoever was talked to."""

    operations: int
    total_mb: float
    avg_ms: float | None
    max_ms: float | None
    min_ms: float | None
    bandwidth_mbps: float | None
    percentiles_ms: tuple[float | None, float | None, float | None] | None = None  # P50, P95, P99
    operations_by_kind: list[Operation] = field(default_factory=list)


@dataclass(slots=True)
class LoggedRun:
    """What one root run, or one session of a worker, printed."""

    is_worker: bool = False
    header: dict[str, str] = field(default_factory=dict)
    signs: set[str] = field(default_factory=set)  # of "fork" and "upstream", and line kinds seen
    listening: tuple[str, int] | None = None
    peer_addresses: dict[int, str] = field(default_factory=dict)  # socket -> host:port
    node_index: int | None = None  # as a worker prints it; see `rank`
    said_nodes: list[int] = field(default_factory=list)
    required_mb: int | None = None
    required_kb: int | None = None  # as v0.12.0 to v0.15.3 print it
    sockets: set[int] = field(default_factory=set)  # that it says it has
    averages: dict[str, float | None] = field(default_factory=dict)  # of versions before v0.12
    remarks: list[str] = field(default_factory=list)
    cpu: str | None = None
    collective: str | None = None
    pp_size: int | None = None
    tp_size: int | None = None
    has_weights: bool = False
    prompt_lines: list[str] = field(default_factory=list)
    steps: list[StepLine] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # of the steps, as v0.4.0 prints them
    n_batches: int | None = None
    evaluation: PhaseBlock | None = None
    prediction: PhaseBlock | None = None
    timing_ms: dict[str, float | None] = field(default_factory=dict)
    perplexity: dict[str, float | None] = field(default_factory=dict)
    perplexity_tokens: int | None = None
    stalls: list[Stall] = field(default_factory=list)
    unreachable: tuple[str, str] | None = None  # address, reason
    errors: list[str] = field(default_factory=list)
    monitor: MonitorTable | None = None
    warnings: list[str] = field(default_factory=list)
    damage: str = ""  # why the order of its lines is not to be trusted
    foreign: list[str] = field(default_factory=list)  # lines among the tokens that no token has
    unread: list[str] = field(default_factory=list)  # start like dllama's lines, but broken

    @property
    def is_empty(self) -> bool:
        """Nothing of dllama's was found."""
        return not (self.signs or self.header)

    @property
    def says_nothing(self) -> bool:
        """Whether it ends in its head: no pass, no figure, no reason."""
        told = (self.steps, self.errors, self.stalls, self.prediction, self.evaluation)
        return not (any(told) or self.has_weights or self.unreachable or self.perplexity)

    @property
    def variant(self) -> Variant:
        """Which dllama printed it."""
        if "fork" in self.signs:
            return "fork"
        return "upstream" if "upstream" in self.signs else "unknown"

    @property
    def nodes(self) -> int | None:
        """Nodes with the root; None when the log does not tell."""
        if (slices := self._whole_of_header("nSlices")) is not None:
            return slices  # dllama before v0.12 prints its nodes
        left_out = 0 if not self.is_worker or self._counts_all_nodes else _NOT_COUNTED
        said = [n for nodes in self.said_nodes if 1 <= (n := nodes + left_out) <= MAX_NODES]
        if said:
            return max(said)
        sockets = self.sockets | set(self.peer_addresses)
        if sockets and not self.is_worker and max(sockets) < MAX_NODES:
            return max(sockets) + 2
        is_alone = self.has_weights and not self.is_worker and not self.printed_kb
        return 1 if is_alone else None

    @property
    def rank(self) -> int | None:
        """A worker's rank, from 1; None when its log does not tell.

        Upstream numbers the workers from 0, and before v0.12 prints the slice, which is the rank.
        """
        if (index := self._whole_of_header(SLICE)) is not None:
            return index
        if self.node_index is None:
            return None
        return self.node_index + (0 if self._counts_all_nodes else 1)

    @property
    def _counts_all_nodes(self) -> bool:
        """Whether it is a worker of the fork's, which counts nodes with the root as number 0."""
        return "worker_speaks" in self.signs

    def _whole_of_header(self, key: str) -> int | None:
        text = self.header.get(key, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else None

    @property
    def is_old(self) -> bool:
        """Printed by dllama before v0.12: one line a pass, the prompt's not told apart."""
        return "pass" in self.signs or "average" in self.signs

    @property
    def pass_with_weights(self) -> int | None:
        """Which pass of an old version sent the weights too: it was the first; None on one node."""
        sent_kb = [step.sent_kb for step in self.decode]
        most_kb = max(sent_kb, default=0)
        return sent_kb.index(most_kb) if sent_kb.count(most_kb) == 1 else None

    @property
    def first_pass_is_told(self) -> bool:
        """Whether an old version's first pass is known by more than its place."""
        return bool(self.positions) or self.pass_with_weights == 0

    @property
    def is_tail(self) -> bool:
        """Whether only its end is there: no head, and fewer passes than the block says."""
        if self.header or self.has_weights or self.prediction is None:
            return False
        return len(self.decode) < (self.prediction.n_tokens or 0)

    @property
    def ends_unprinted(self) -> bool:
        """Whether an old version met the text's end: its last pass is counted, not printed."""
        if not self.is_old or not self.decode or self.prediction is None:
            return False
        is_end = _END_TOKEN.fullmatch(self.decode[-1].piece.strip()) is not None
        return is_end and self.prediction.n_tokens == len(self.decode) + 1

    @property
    def prints_no_rate(self) -> bool:
        """Whether it is a version before v0.5, which prints its average time alone."""
        return self.is_old and (bool(self.positions) or "loaded_bytes" in self.signs)

    @property
    def prompt(self) -> str:
        """The prompt that the root repeats before its first step; old versions do not."""
        return "" if self.is_old else "\n".join(self.prompt_lines)

    @property
    def prefill(self) -> list[StepLine]:
        """The prompt's batches."""
        return [step for step in self.steps if step.phase == "eval"]

    @property
    def decode(self) -> list[StepLine]:
        """The generated tokens."""
        return [step for step in self.steps if step.phase == "pred"]

    @property
    def has_lost_evaluation(self) -> bool:
        """Whether the prompt's time stands in Eval lines alone, which are cut to whole ms."""
        has_rate = self.evaluation is not None and self.evaluation.has_rate
        return bool(self.prefill) and not self.is_old and not has_rate

    @property
    def printed_kb(self) -> int:
        """All that the steps sent and received, as printed."""
        return sum(step.sent_kb + step.recv_kb for step in self.steps)

    @property
    def has_even_bytes(self) -> bool:
        """Whether passes of one token print the same kB, as they move the same bytes."""
        for kbs in ([step.sent_kb for step in self.decode], [step.recv_kb for step in self.decode]):
            if max(kbs, default=0) - min(kbs, default=0) > 1:
                return False
        return True

    @property
    def rows(self) -> list[int]:
        """Rows of each forward pass."""
        return [step.n_tokens for step in self.steps]

    @property
    def shape(self) -> Shape | None:
        """The model's figures that bytes depend on; None without a whole header."""
        try:
            figures = [int(self.header[key]) for key in ("Dim", "nLayers", "VocabSize")]
        except (KeyError, ValueError):
            return None
        return Shape(*figures) if all(0 < figure <= _MAX_FIGURE for figure in figures) else None
