"""The answer: what came out, why, and what limits the speed now."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.figures.quantities import Quantity
from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class HeadlineSlower(Sentence):
    """A cell is surely slower than the baseline by more than is tolerated."""

    cell: str
    quantity: Quantity
    percent: float
    others: int  # cells of which the same is to be said


@dataclass(frozen=True, slots=True)
class HeadlineFaster(Sentence):
    """A cell is surely faster than the baseline."""

    cell: str
    quantity: Quantity
    percent: float
    others: int


@dataclass(frozen=True, slots=True)
class HeadlineTrouble(Sentence):
    """Cells without figures that count, or beyond a limit, or undecided."""

    status: str
    cell: str  # the first of them
    cells: int
    total: int


@dataclass(frozen=True, slots=True)
class HeadlinePass(Sentence):
    """Nothing is wrong."""

    cells: int
    against: str | None  # the baseline, if there was one
    unchecked: int = 0  # cells whose output nobody compared


@dataclass(frozen=True, slots=True)
class HeadlineMeasured(Sentence):
    """Figures that were not all judged, as of an imported log."""

    cells: int
    total: int
    judged: int


@dataclass(frozen=True, slots=True)
class Compared(Sentence):
    """Against what, by how many pairs, and how many cells were no worse."""

    base: str
    new: str
    pairs: int
    passed: int
    cells: int
    is_slowed: bool = False  # the new side, on purpose


@dataclass(frozen=True, slots=True)
class EffectSits(Sentence):
    """The part of a token or request that carries most of a change."""

    cell: str
    quantity: Quantity
    part: str
    rank: int
    share: float
    waited_for: int | None
    change: float | None  # of the part itself, 0.31 is 31 % slower
    because_part: str | None = None  # the waited-for rank's own work that changed so
    because_change: float | None = None
    also: tuple[tuple[Quantity, float], ...] = ()  # shares of other changes that sit there, too


@dataclass(frozen=True, slots=True)
class CauseFound(Sentence):
    """Work of several ranks, or of several kinds, that a change comes from."""

    cell: str
    part: str
    ranks: tuple[int, ...]
    is_everywhere: bool  # on every rank that does such work
    change: float  # of this work itself, 0.31 is 31 % slower
    also: tuple[str, ...] = ()  # other work that changed so on the same ranks


@dataclass(frozen=True, slots=True)
class WorkChanged(Sentence):
    """Work that surely changed, by too little for the metric that it is a part of."""

    cause: CauseFound
    quantity: Quantity
    status: str  # of that metric


@dataclass(frozen=True, slots=True)
class EffectUnexplained(Sentence):
    """How much of a change no part carries."""

    cell: str
    share: float


@dataclass(frozen=True, slots=True)
class Undecided(Sentence):
    """Figures that the pairs could not decide, and how many pairs would."""

    figures: int
    cells: int
    fewest: int | None  # pairs that decide the first of them; None: no reasonable number
    most: int | None  # pairs that decide them all


@dataclass(frozen=True, slots=True)
class FindCommit(Sentence):
    """Between the baseline and HEAD lies the commit that made a cell slower."""

    good: str  # the baseline's revision
    tolerance: str = ""  # option that tells what was found from none, with a space before it


@dataclass(frozen=True, slots=True)
class TakeMorePairs(Sentence):
    """More pairs should decide what is open."""

    looks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExactChanged(Sentence):
    """A counted figure that differs from the baseline's."""

    cell: str
    metric: str
    base: float
    new: float


@dataclass(frozen=True, slots=True)
class TokensDiffer(Sentence):
    """Cells whose two sides generate other tokens, both valid."""

    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LimitCores(Sentence):
    """More threads than cores: what is measured is the sharing."""

    cell: str
    threads: int
    cores: int


@dataclass(frozen=True, slots=True)
class LimitMemory(Sentence):
    """Decoding is near what the memory can deliver."""

    cell: str
    share: float
    limit_ms: float
    tpot_ms: float


@dataclass(frozen=True, slots=True)
class LimitCompute(Sentence):
    """Most of a token's time is computing."""

    cell: str
    share: float
    compute_ms: float
    tpot_ms: float


@dataclass(frozen=True, slots=True)
class LimitStraggler(Sentence):
    """The others wait for one rank, which computes longer."""

    cell: str
    rank: int
    host: str
    times: float  # its computing over the median rank's
    waiting: float  # share of a token that the root exchanges or waits


@dataclass(frozen=True, slots=True)
class LimitRate(Sentence):
    """The slowest link needs most of the exchange's time to carry the bytes."""

    cell: str
    mbps: float
    transfer_ms: float
    sync_ms: float


@dataclass(frozen=True, slots=True)
class LimitLatency(Sentence):
    """The exchanges of a token, one trip each, take most of the exchange's time."""

    cell: str
    exchanges: float
    trip_ms: float  # there and back
    sync_ms: float
    is_one_way: bool = False  # of emulated links: there alone


@dataclass(frozen=True, slots=True)
class LimitExchange(Sentence):
    """Exchange takes most of a token; what of it, is not known."""

    cell: str
    share: float
    sync_ms: float
    tpot_ms: float


@dataclass(frozen=True, slots=True)
class LargestPart(Sentence):
    """The part of a token that takes most, by node count."""

    model: str
    items: tuple[tuple[int, str, float], ...]  # (nodes, part, share)


@dataclass(frozen=True, slots=True)
class SlowGap(Sentence):
    """The longest gap between tokens against the median one."""

    cell: str
    token: int
    gap_ms: float
    median_ms: float


@dataclass(frozen=True, slots=True)
class GapRange(Sentence):
    """Half of the gaps between tokens are no longer than this, and the longest is that."""

    cell: str
    median_ms: float
    longest_ms: float


@dataclass(frozen=True, slots=True)
class WidestSpread(Sentence):
    """The figure whose repeats lie farthest apart."""

    cell: str
    quantity: Quantity
    percent: float  # maximum over minimum
    cells: int
