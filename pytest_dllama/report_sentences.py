"""Every statement the report can make, as values: a kind and its numbers, no wording.

Each kind has a macro of the same name (in snake case) in `templates/LANG/sentences.md.j2`, and a
test compares the two lists. *When* to say something is decided in report_analysis,
report_resources, report_status, report_findings and report_advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_dllama.report_quantities import Quantity


@dataclass(frozen=True, slots=True)
class Sentence:
    """Base of all kinds."""

    @classmethod
    def macro(cls) -> str:
        """Name of the macro that words this kind.

        >>> BestNodes.macro()
        'best_nodes'
        """
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


# --- what was measured -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Coverage(Sentence):
    """How many cells were planned, measured, failed and skipped."""

    models: tuple[str, ...]
    node_counts: tuple[int, ...]
    cells: int
    measured: int
    failed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class RepeatRule(Sentence):
    """How repeats are condensed, and what that says about differences."""

    repeats: int
    warmup: int


@dataclass(frozen=True, slots=True)
class SharedCores(Sentence):
    """Local processes that had to share cores: their node counts say nothing of real ones."""

    threads: int
    cores: int


@dataclass(frozen=True, slots=True)
class CellFailed(Sentence):
    """A cell without figures, and why."""

    model: str
    nodes: int
    skipped: bool
    error: str


@dataclass(frozen=True, slots=True)
class CellExcluded(Sentence):
    """A measured cell whose speed does not count."""

    model: str
    nodes: int
    wrong_output: bool  # else: judged INVALID or ERROR
    reasons: tuple[str, ...]


# --- model against model ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ahead(Sentence):
    """One model is better at these node counts, by a range of factors or percents."""

    quantity: Quantity
    winner: str
    loser: str
    nodes: tuple[int, ...]
    everywhere: bool  # at every node count compared, of two or more
    low: float  # factor of at least 1, percent below the loser, or points of a share
    high: float


@dataclass(frozen=True, slots=True)
class Level(Sentence):
    """No difference beyond the spread of the repeats, or equal figures."""

    quantity: Quantity
    first: str
    other: str
    nodes: tuple[int, ...]
    equal: bool


@dataclass(frozen=True, slots=True)
class Incomparable(Sentence):
    """A value is missing or does not count."""

    quantity: Quantity
    first: str
    other: str
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelValue:
    """A model's value at its best node count."""

    model: str
    value: float
    tied_with: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BestNodes(Sentence):
    """The node count at which these models do best."""

    quantity: Quantity
    nodes: int
    items: tuple[ModelValue, ...]
    common: bool  # all models of the run, of two or more


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model's change over one step."""

    model: str
    percent: float
    tied: bool
    better: bool


@dataclass(frozen=True, slots=True)
class StepChange(Sentence):
    """What going from one node count to the next does."""

    quantity: Quantity
    start: int
    end: int
    items: tuple[ModelChange, ...]
    most: str | None  # the model that clearly changes more, all in one direction


@dataclass(frozen=True, slots=True)
class Efficiency(Sentence):
    """Speed per node, against the smallest node count."""

    model: str
    base: int
    nodes: int
    share: float


# --- one node count --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AheadByMetric(Sentence):
    """One model against another at one node count, over the speed metrics."""

    winner: str
    loser: str
    items: tuple[tuple[Quantity, float], ...]  # factor of at least 1 each


@dataclass(frozen=True, slots=True)
class LevelByMetric(Sentence):
    """Metrics in which two models cannot be told apart at one node count."""

    first: str
    other: str
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class FastestModel(Sentence):
    """The fastest model at one node count, in tokens/s."""

    nodes: int
    model: str
    value: float
    tied_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FastestNodesHere(Sentence):
    """The models whose best node count this is."""

    nodes: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BelowBest(Sentence):
    """How far a model is from its best node count here."""

    model: str
    nodes: int
    best: int
    percent: float


@dataclass(frozen=True, slots=True)
class NothingCounts(Sentence):
    """No figure of this node count counts."""

    nodes: int


# --- memory ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemoryRatio(Sentence):
    """One model's memory as a multiple of another's, by node count."""

    quantity: Quantity
    first: str
    other: str
    items: tuple[tuple[int, float], ...]  # (nodes, factor)


@dataclass(frozen=True, slots=True)
class RootAgainstWorker(Sentence):
    """How root and worker share the model."""

    model: str
    nodes: int
    root_bytes: float
    worker_bytes: float
    percent: float  # root above worker


@dataclass(frozen=True, slots=True)
class MemoryChange(Sentence):
    """A node's memory from the fewest to the most nodes."""

    quantity: Quantity
    model: str
    start: int
    end: int
    percent: float
    tied: bool


@dataclass(frozen=True, slots=True)
class LargestProcess:
    """The larger of root and worker: what a node must hold."""

    nodes: int
    peak_bytes: float
    on_root: bool


@dataclass(frozen=True, slots=True)
class MemoryNeed(Sentence):
    """The memory a node needs, by node count."""

    model: str
    items: tuple[LargestProcess, ...]


@dataclass(frozen=True, slots=True)
class MemoryMeasured(Sentence):
    """What the memory of a machine delivers."""

    hosts: tuple[str, ...]
    rates: tuple[tuple[int, float], ...]  # (threads, GB/s)
    cache_bytes: int | None
    disturbed: bool


@dataclass(frozen=True, slots=True)
class RooflineCached(Sentence):
    """Cells whose weights the caches can hold: memory sets them no limit."""

    model: str
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RooflineUnmeasured(Sentence):
    """A cell without a limit, for no memory could be measured."""

    model: str
    nodes: int
    detail: str


# --- network ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrafficGrowth(Sentence):
    """Total traffic from the fewest to the most nodes."""

    model: str
    start: int
    end: int
    factor: float
    nodes_factor: float


@dataclass(frozen=True, slots=True)
class SyncShares(Sentence):
    """Share of the time spent in collectives, by node count."""

    model: str
    items: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class WireChecked(Sentence):
    """Cells whose bytes equal the plan's closed form."""

    equal: int
    checked: int


@dataclass(frozen=True, slots=True)
class WireMismatch(Sentence):
    """A cell whose bytes do not."""

    model: str
    nodes: int
    counted: int
    expected: int


@dataclass(frozen=True, slots=True)
class VarianceSeen(Sentence):
    """Cells with P95 above twice the P50, and the worst of them."""

    cells: int
    judged: int
    model: str
    nodes: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class StepAttribution(Sentence):
    """Where the root's time of a step to more nodes went."""

    model: str
    start: int
    end: int
    compute_s: float
    sync_s: float


@dataclass(frozen=True, slots=True)
class OpGrowth(Sentence):
    """The operation that takes most time, before and after a step to more nodes."""

    model: str
    op: str
    start: int
    end: int
    start_ms: float
    end_ms: float


# --- correctness -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutputCounts(Sentence):
    """Cells by the state of their output."""

    cells: int
    oracle: int
    identical: int
    tie: int
    different: int
    unchecked: int


@dataclass(frozen=True, slots=True)
class TieExplained(Sentence):
    """Where a cell parts from the oracle within the error of quantized sums."""

    model: str
    nodes: int
    position: int  # from 1
    oracle_piece: str
    cell_piece: str
    margin: float
    tolerance: float
    allowed: bool


@dataclass(frozen=True, slots=True)
class ThresholdCounts(Sentence):
    """Thresholds kept, of all."""

    passed: int
    total: int


@dataclass(frozen=True, slots=True)
class ThresholdMissed(Sentence):
    """One threshold that was not kept."""

    model: str
    nodes: int
    metric: str
    value: float | None
    limit: float
    upper: bool


# --- hosts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostKinds(Sentence):
    """What the hosts are, alike ones together."""

    hosts: int
    items: tuple[tuple[str, int, int], ...]  # (kind, cores, hosts)


@dataclass(frozen=True, slots=True)
class SharedMachine(Sentence):
    """Hosts that are one machine."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostThrottled(Sentence):
    """A host that was slowed down while it was measured."""

    host: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostProblem(Sentence):
    """What the preflight found of these hosts; `values` fill the words of `kind`."""

    hosts: tuple[str, ...]
    kind: str
    values: tuple[tuple[str, str], ...]
    refused: bool


@dataclass(frozen=True, slots=True)
class WarmestHost(Sentence):
    """The highest temperature that was seen."""

    host: str
    before_c: float | None
    highest_c: float


@dataclass(frozen=True, slots=True)
class ClockDropped(Sentence):
    """A host whose clock was seen below its highest."""

    host: str
    lowest_mhz: float
    most_mhz: float


@dataclass(frozen=True, slots=True)
class SampleCost(Sentence):
    """What it cost to look at the hosts during the run."""

    samples: int
    dearest_ms: float


@dataclass(frozen=True, slots=True)
class WayBroken(Sentence):
    """Two hosts that cannot talk."""

    source: str
    target: str
    error: str


@dataclass(frozen=True, slots=True)
class WaysMeasured(Sentence):
    """The spread of round trips and bandwidths over all pairs, and the worst pair of each."""

    fastest_ms: float
    slowest_ms: float
    far: str
    least_mbps: float
    most_mbps: float
    narrow: str


@dataclass(frozen=True, slots=True)
class CoolHost(Sentence):
    """A host that was slowed down needs power or cooling first."""

    host: str


# --- scaling findings and recommendations ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Knee(Sentence):
    """Beyond this node count the model gets slower."""

    model: str
    nodes: int
    after: int
    percent: float
    at: float
    then: float


@dataclass(frozen=True, slots=True)
class NoKnee(Sentence):
    """The most nodes are the fastest."""

    model: str
    before: int
    nodes: int
    percent: float


@dataclass(frozen=True, slots=True)
class Plateau(Sentence):
    """More nodes change nothing that the repeats can show."""

    model: str
    nodes: int
    upto: int


@dataclass(frozen=True, slots=True)
class UseNodes(Sentence):
    """Recommend a node count."""

    model: str
    nodes: int
    value: float
    tied_with: tuple[int, ...]
    failed: bool  # its verdict is FAIL


@dataclass(frozen=True, slots=True)
class FewerNodes(Sentence):
    """A smaller cluster gives nearly the same speed."""

    model: str
    nodes: int
    best: int
    percent: float  # of the best speed


@dataclass(frozen=True, slots=True)
class AvoidNodes(Sentence):
    """More nodes than the best, and slower."""

    model: str
    nodes: int
    best: int
    percent: float


@dataclass(frozen=True, slots=True)
class FasterModel(Sentence):
    """Which model to take where speed is what matters."""

    model: str
    nodes: int
    value: float
    other: str
    other_nodes: int
    other_value: float
    factor: float


@dataclass(frozen=True, slots=True)
class ReduceSync(Sentence):
    """The collectives cost most where they hurt most."""

    model: str
    nodes: int
    share: float


@dataclass(frozen=True, slots=True)
class CheckLinks(Sentence):
    """A cell whose latency scatters."""

    model: str
    nodes: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class FixOutput(Sentence):
    """Wrong output comes before any speed."""

    model: str
    nodes: int


@dataclass(frozen=True, slots=True)
class FixCell(Sentence):
    """A failed cell has to run first."""

    model: str
    nodes: int


@dataclass(frozen=True, slots=True)
class CheckOutput(Sentence):
    """Cells whose output nobody compared."""

    cells: int


@dataclass(frozen=True, slots=True)
class MoreRepeats(Sentence):
    """One repeat shows no spread."""

    repeats: int


@dataclass(frozen=True, slots=True)
class WorkerCountWrong(Sentence):
    """The command names another number of workers than the node count says."""

    model: str
    nodes: int
    workers: int
