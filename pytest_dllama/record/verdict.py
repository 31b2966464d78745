"""The verdict file: one A against B run, judged; its JSON schema is `verdict_schema()`.

Changes are relative (0.05 is 5 %) and turned so that plus is worse, whatever is better of the
metric. A missing value is `null`, never zero.
"""

from __future__ import annotations

import re
from statistics import median
from typing import Any, Literal

from pytest_dllama.record.base import Record
from pytest_dllama.record.cell import Workload

VERDICT_SCHEMA_VERSION = 2  # 2: attribution, notes, unpaired verdicts, workloads

# Worst first: a cell has the worst of its metrics.
PairStatus = Literal["ERROR", "INVALID", "REGRESSED", "FAIL", "INCONCLUSIVE", "IMPROVED", "PASS"]
PRECEDENCE: tuple[PairStatus, ...] = (
    *("ERROR", "INVALID", "REGRESSED", "FAIL", "INCONCLUSIVE", "IMPROVED", "PASS"),
)  # fmt: skip


MANY_PAIRS = 50  # more than anybody takes for one answer
# No commit lies between it and a working tree.
_ADJACENT = tuple(f"{head}{up}" for head in ("HEAD", "@") for up in ("", "~", "~1", "^", "^1"))
_MOVES = re.compile(r"(HEAD|@)(?![\w./-])")  # names that mean another commit once HEAD moves
_COMMIT = re.compile(r"(?:^|\()([0-9a-f]{10})(, with uncommitted changes)?\)?$")  # of a label

# Of a session. Odd: the median is a request's. Few: the noise of each is learnt by itself.
REQUESTS = (1, 3, 5)


def known_requests(taken: int) -> tuple[int, ...]:
    """The numbers of requests whose noise sessions of so many show: of their first ones, too.

    >>> known_requests(5), known_requests(2)
    ((1, 3, 5), (1, 2))
    """
    return (*(n for n in REQUESTS if n < taken), taken)


class AttributedPart(Record):
    """What one kind of work on one rank has of a metric's change."""

    phase: Literal["prefill", "decode"]
    part: str  # as in PartTime
    rank: int
    waited_for: int | None = None
    effect_ms: float  # of a token (TPOT), of the whole (TTFT, RCT); plus is slower
    share: float  # of the metric's whole effect: 0.9 is 90 %
    share_lower: float | None = None
    share_upper: float | None = None
    change: float | None = None  # of this part itself: 0.31 is 31 % slower
    is_sure: bool = False  # it changed: p below 5 %, Holm-adjusted over all parts
    pairs_to_be_sure: int | None = None  # with 90 % power, of what its change and noise look like
    because_part: str | None = None  # of the waited-for rank: its own work that changed so
    because_change: float | None = None


class Cause(Record):
    """The work that a metric's change comes from; that others wait for it is its consequence."""

    phase: Literal["prefill", "decode"]
    part: str  # as in PartTime
    ranks: tuple[int, ...]  # on which it changed
    is_everywhere: bool  # on every rank that does such work
    change: float  # of this work itself: 0.31 is 31 % slower
    effect_ms: float  # on one of these ranks, as of AttributedPart
    also: tuple[str, ...] = ()  # other work that surely changed so there: a slower host, say


class Attribution(Record):
    """Where a metric's change sits: the cause's own part first, then the largest share."""

    metric: str  # whose parts these are; steady TPOT has those of TPOT
    cause: Cause | None = None  # None: no work surely changed enough to be it
    parts: tuple[AttributedPart, ...] = ()
    unexplained: float | None = None  # share that no part carries


class MetricVerdict(Record):
    """One metric of one cell."""

    metric: str
    status: PairStatus
    is_paired: bool = True  # false: against a stored run; `pairs` are sessions of the smaller side
    tolerance: float
    base: float | None  # median over the sessions of each side, in the metric's unit
    new: float | None
    change: float | None
    lower: float | None  # one-sided bounds of the change, at `level` each
    upper: float | None
    pairs: int
    pair_sd: float | None  # of ln(new / base), moderated: the noise of one pair
    detectable_change: float | None  # what so many pairs find with 90 % power
    pairs_to_decide: int | None  # of this effect and noise, those taken included; None: hopeless
    is_provisional: bool  # no calibrated prior: the plain paired t
    p_worse: float | None  # one-sided p of "no worse than tolerated"
    attribution: Attribution | None = None  # of REGRESSED and IMPROVED
    # Of the others: kinds of work that surely changed (1 %, Holm), too little for the metric.
    changed_work: tuple[Cause, ...] = ()
    note: str | None = None  # what limits this verdict


class ExactChange(Record):
    """An exact figure that differs between the sides: reported, no verdict without a limit."""

    metric: str
    base: float
    new: float


class SideSession(Record):
    """One session of one side in one pair."""

    pair: int
    side: Literal["base", "new"]
    is_first: bool
    metrics: dict[str, float | None]  # the median over its requests
    requests: tuple[dict[str, float | None], ...] = ()  # each one's, where it had several

    def value(self, metric: str, requests: int | None = None) -> float | None:
        """The session's value, or that of its first requests alone."""
        if requests is None or not self.requests:
            return self.metrics.get(metric)
        known = [v for one in self.requests[:requests] if (v := one.get(metric)) is not None]
        return median(known) if known else None


class Prospect(Record):
    """What so many requests a session would probably take to pass a cell without any change."""

    requests: int
    pairs: int
    seconds: float


class CellVerdict(Record):
    """One cell: the worst of its metrics, or why it has none."""

    model: str
    nodes: int
    workload: Workload = Workload()
    status: PairStatus
    reasons: tuple[str, ...] = ()
    metrics: tuple[MetricVerdict, ...] = ()
    exact_changes: tuple[ExactChange, ...] = ()
    same_tokens: bool | None = None
    sessions: tuple[SideSession, ...] = ()
    pairs_s: float | None = None  # what its pairs took, starts included; None: none was taken
    requests: int = 1  # of a session
    further_s: float | None = None  # what one more request of a side would take
    prospects: tuple[Prospect, ...] = ()  # that `requests` was chosen from; none: nothing was known
    retried: str | None = None  # why a pair was taken anew: a rank was lost; None: none was

    @property
    def id(self) -> str:
        """As in test ids, tables and log names."""
        return f"{self.model}-{self.nodes}{self.workload.suffix}"

    @property
    def attributed(self) -> tuple[MetricVerdict, ...]:
        """Metrics that say where their change sits; none that only repeats another one's parts."""
        told = [verdict for verdict in self.metrics if verdict.attribution]
        own = {v.metric for v in told if v.attribution and v.attribution.metric == v.metric}
        return tuple(
            v
            for v in told
            if v.metric in own or (v.attribution and v.attribution.metric not in own)
        )


class VerdictFile(Record):
    """One comparison: of `pytest suites/ --baseline SPEC`, or of `pytest-dllama duet`."""

    schema_version: int = VERDICT_SCHEMA_VERSION
    created_utc: str
    wall_s: float
    baseline: str
    base_label: str
    new_label: str
    fingerprint: str
    seed: int  # of the order of sides and cells
    looks: tuple[int, ...]  # none: against a stored run, which is no pair of anything
    level: float  # one-sided, of each look
    prompt: str  # empty, and steps None: the cells' workloads say
    steps: int | None
    inject: str = ""  # how the new side was slowed down on purpose
    emulated: str = ""  # the links that both sides were on; empty: real ones
    emulated_board: str = ""  # what each node was; empty: as fast as the machine
    prior_groups: int  # the most that any metric's prior rests on
    status: PairStatus
    holm_p: dict[str, float]  # "model nodes metric" -> Holm-adjusted p_worse; gates nothing
    cells: tuple[CellVerdict, ...]

    @property
    def new_side(self) -> str:
        """What was compared with the baseline, without how it was slowed down."""
        return self.new_label.removesuffix(label_of("", self.inject))

    @property
    def bisected_from(self) -> str | None:
        """The base, where `git bisect` may find between it and HEAD what made a cell slower.

        By its commit, where its name would mean another one as soon as HEAD moves.
        """
        kind, _, revision = self.baseline.partition(":")
        moves = _MOVES.match(revision) is not None
        is_own = kind == "git" and (moves or "@" not in revision) and revision not in _ADJACENT
        is_slower = any(cell.status == "REGRESSED" for cell in self.cells)
        if not is_own or not is_slower or self.inject or self.same_commit is not None:
            return None
        found = _COMMIT.search(self.base_label)
        return found[1] if moves and found else revision

    @property
    def bisecting_tolerance(self) -> str:
        """Options that tell the change that was found from none: half of it, where that is more.

        What a revision must be told from is this change, not 5 %: it takes far fewer pairs.
        """
        worse = [m for c in self.cells for m in c.metrics if m.status == "REGRESSED" and m.change]
        most = max(worse, key=lambda metric: metric.change or 0.0, default=None)
        half = (most.change or 0.0) / 2 if most else 0.0
        usual = max((metric.tolerance for metric in worse), default=0.0)
        return f" --tolerate {100 * half:.0f}%" if half > usual else ""

    @property
    def same_commit(self) -> str | None:
        """The commit that both sides of `git:` are, changes that no commit has left aside."""
        base, new = _COMMIT.search(self.base_label), _COMMIT.search(self.new_side)
        is_same = self.baseline.startswith("git:") and base and new and base[1] == new[1]
        return base[1] if base and is_same else None

    @property
    def is_all_the_same(self) -> bool:
        """Whether nothing distinguishes the sides of `git:`, so that this is A/A."""
        new = _COMMIT.search(self.new_side)
        has_changes = new is not None and new[2] is not None
        return self.same_commit is not None and not has_changes and not self.inject

    @property
    def further_looks(self) -> tuple[int, ...]:
        """Looks by which all that is open should be decided; none where nothing is, or would be."""
        left = [
            metric.pairs_to_decide
            for cell in self.cells
            for metric in cell.metrics
            if metric.status == "INCONCLUSIVE"
        ]
        known = [pairs for pairs in left if pairs is not None]
        if not self.looks or not left or len(known) < len(left) or max(known) > MANY_PAIRS:
            return ()
        found = [self.looks[-1], 2 * self.looks[-1]]
        while found[-1] < max(known):
            found.append(2 * found[-1])
        return tuple(found)


def label_of(side: str, inject: str) -> str:
    """What a side is called: with how it was slowed down on purpose.

    >>> label_of("this engine", ""), label_of("this engine", "tpot=5%")
    ('this engine', 'this engine, slowed down on purpose (tpot=5%)')
    """
    return f"{side}, slowed down on purpose ({inject})" if inject else side


def worst(statuses: list[PairStatus]) -> PairStatus:
    """The one that the whole has.

    >>> worst(["PASS", "REGRESSED", "INCONCLUSIVE"])
    'REGRESSED'
    >>> worst([])
    'PASS'
    """
    return min(statuses, key=PRECEDENCE.index, default="PASS")


def verdict_schema() -> dict[str, Any]:
    """The JSON schema of a verdict file."""
    return VerdictFile.model_json_schema()
