"""The figures of a proof as Markdown; every one comes from the journal's rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.table import markdown_table
from benchmarks.verdicts.proof.blocks import (
    FIRST,
    JUDGED,
    LAST,
    PLAN,
    Block,
    Judged,
    Priors,
    blocks,
    differences,
    judge,
    priors_of,
)
from benchmarks.verdicts.proof.findings.expected import simulated
from benchmarks.verdicts.proof.journal import (
    AA,
    CALIBRATION,
    Condition,
    Journal,
    Pair,
    cells_of,
)
from pytest_dllama.record.verdict import PairStatus
from pytest_dllama.stats.decision import theta_of
from pytest_dllama.stats.intervals import clopper_pearson
from pytest_dllama.stats.noise import pair_noise
from pytest_dllama.verdict.limits.limit import TOLERANCES

WRONG: Sequence[PairStatus] = ("REGRESSED", "IMPROVED")  # of the same against the same
NAMES = {
    "ttft_s": "TTFT",
    "tpot_ms": "TPOT",
    "steady_tpot_ms": "steady TPOT",
    "rct_s": "RCT",
}
_EVERY = "all"


@dataclass(frozen=True)
class Findings:
    """What a journal holds, judged."""

    journal: Journal

    @cached_property
    def calibration(self) -> list[Pair]:
        """Pairs that the prior rests on: of a quiet machine, if there are any."""
        quiet = self.journal.pairs(Condition(stage=CALIBRATION))
        return quiet or self.journal.pairs(Condition(stage=CALIBRATION, is_busy=True))

    @cached_property
    def priors(self) -> Priors:
        """Each metric's prior."""
        return priors_of(self.calibration)

    def blocks(self, condition: Condition, size: int, cell: str = _EVERY) -> list[Block]:
        """Blocks of a cell, or of all."""
        pairs = self.journal.pairs(condition)
        return [block for block in blocks(pairs, size) if cell in (_EVERY, block.cell)]

    def judged(self, found: Sequence[Block], metrics: Sequence[str] = JUDGED) -> list[Judged]:
        """The verdict of each block."""
        return [judge(block, self.priors, PLAN, metrics) for block in found]

    def conditions(self, wanted: Callable[[Condition], bool]) -> list[Condition]:
        """Conditions that were measured."""
        return [condition for condition in self.journal.conditions() if wanted(condition)]


def count(judged: Sequence[Judged], *statuses: str) -> int:
    """How many have one of these verdicts.

    >>> count([Judged("PASS", 3, 6.0, ()), Judged("REGRESSED", 5, 9.0, ())], "PASS")
    1
    """
    return sum(verdict.status in statuses for verdict in judged)


def bounded(hits: int, trials: int) -> str:
    """A count and the bounds of its share (Clopper-Pearson, 95 %).

    >>> bounded(0, 360)
    '0 (0.0 to 1.0 %)'
    """
    found = clopper_pearson(hits, trials)
    return f"{hits} ({100 * found.lower:.1f} to {100 * found.upper:.1f} %)"


def percent(hits: int, trials: int) -> str:
    """A share, rounded.

    >>> percent(1, 3)
    '33 %'
    """
    return f"{100 * hits / trials:.0f} %"


def where(findings: Findings) -> Iterator[str]:
    """The machine, the days, the load and what went wrong."""
    comparisons = findings.journal.comparisons()
    pairs = findings.journal.pairs()
    if not pairs:
        yield "Nothing has been measured."
        return
    machines = dict.fromkeys(
        f"{c.environment.board or c.environment.cpu_model}, {c.environment.cpu_count} cores, "
        f"Python {c.environment.python}"
        for c in comparisons
    )
    days = sorted({c.created_utc[:10] for c in comparisons})
    revisions = dict.fromkeys(c.revision.commit[:10] for c in comparisons if c.revision)
    loads = sorted(pair.load for pair in pairs)
    yield f"{len(pairs)} pairs, {days[0]} to {days[-1]}, on {'; '.join(machines)}."
    yield (
        f"Load average of the last minute: median {statistics.median(loads):.1f}, highest "
        f"{loads[-1]:.1f} (a pair of a cell of n nodes is n processes at work). "
        f"Requests of {comparisons[0].steps} positions. Revisions: {', '.join(revisions) or '-'}."
    )
    failures = findings.journal.failures()
    if failures:
        some = "; ".join(
            f"{f.cell}: {f.status}: {'; '.join(f.reasons)[:200]}" for f in failures[:3]
        )
        yield f"Cells of a comparison that ended as ERROR or INVALID: {len(failures)} ({some})."
    provisional = [NAMES[metric] for metric, prior in findings.priors.items() if prior is None]
    if provisional:
        yield f"Without a prior (plain paired t, provisional): {', '.join(provisional)}."
    for metric, prior in findings.priors.items():
        if prior is not None:
            yield (
                f"Prior of {NAMES[metric]}: sd of a pair {100 * prior.s0:.1f} %, "
                f"d0 {prior.d0:.1f}, from {prior.groups} groups that are judged nowhere."
            )


def same_against_same(findings: Findings) -> str:
    """Verdicts of cells, three metrics each, where nothing differs."""
    head = ["cell", "pairs", "verdicts", *WRONG, "INCONCLUSIVE", "PASS"]
    return markdown_table([*head, "pairs used", "s a verdict"], _same_rows(findings))


def _same_rows(findings: Findings) -> Iterator[list[str]]:
    for condition in findings.conditions(_is_same):
        cells = [*cells_of(findings.journal.pairs(condition)), _EVERY]
        for cell in cells:
            for size in (FIRST, LAST):
                found = findings.judged(findings.blocks(condition, size, cell))
                if found:
                    name = f"{cell}, busy" if condition.is_busy else cell
                    yield [name, looks(size), *_verdict_cells(found)]


def looks(size: int) -> str:
    """The column "pairs": looked at once, or up to so many."""
    return str(size) if size == FIRST else f"to {size}"


def _verdict_cells(found: Sequence[Judged]) -> list[str]:
    wrong = [bounded(count(found, status), len(found)) for status in WRONG]
    others = [percent(count(found, status), len(found)) for status in ("INCONCLUSIVE", "PASS")]
    used = statistics.fmean(verdict.pairs for verdict in found)
    seconds = statistics.median(verdict.wall_s for verdict in found)
    return [str(len(found)), *wrong, *others, f"{used:.1f}", f"{seconds:.0f}"]


def beside_the_simulation(findings: Findings) -> str:
    """Each metric by itself: noise, and shares beside those of the simulation of this noise."""
    head = ["cell", "metric", "sd of a pair (ln)", "lag-1", "pairs", "PASS", "PASS, simulated"]
    return markdown_table([*head, "REGRESSED", "REGRESSED, simulated"], _simulated_rows(findings))


def _simulated_rows(findings: Findings) -> Iterator[list[str]]:
    for condition in findings.conditions(_is_same):
        pairs = findings.journal.pairs(condition)
        for cell in cells_of(pairs):
            own = [pair for pair in pairs if pair.cell == cell]
            name = f"{cell}, busy" if condition.is_busy else cell
            for metric in JUDGED:
                yield from _metric_rows(findings, condition, name, own, metric)


def _metric_rows(
    findings: Findings, condition: Condition, name: str, own: Sequence[Pair], metric: str
) -> Iterator[list[str]]:
    if len(own) < LAST or not Block("", tuple(own)).values("base", metric):
        return
    prior = findings.priors[metric]
    noise = pair_noise(differences(own, metric), theta_of(TOLERANCES[metric]), prior, PLAN.level)
    curve = simulated(noise.sd.value, 0.0, TOLERANCES[metric], prior, PLAN)
    sd = f"{100 * noise.sd.value:.1f} % ({100 * noise.sd.lower:.1f} to {100 * noise.sd.upper:.1f})"
    lag1 = "-" if noise.lag1 is None else f"{noise.lag1:+.2f}"
    for size, expected in ((FIRST, curve.first), (LAST, curve.last)):
        found = findings.judged(findings.blocks(condition, size, own[0].cell), (metric,))
        if found:
            yield [
                *(name, NAMES[metric], sd, lag1, looks(size)),
                percent(count(found, "PASS"), len(found)),
                f"{100 * expected['PASS']:.0f} %",
                bounded(count(found, "REGRESSED"), len(found)),
                f"{100 * expected['REGRESSED']:.2f} %",
            ]


def _is_same(condition: Condition) -> bool:
    return condition.stage == AA


def document(findings: Findings, first: Sequence[str] = (), more: Sequence[str] = ()) -> str:
    """All of it: what comes first, the tables of A/A, and what else there is."""
    blocks = ["\n".join(where(findings)), *first]
    if findings.conditions(_is_same):
        blocks += ["### The same against the same", same_against_same(findings)]
        if any(findings.blocks(condition, LAST) for condition in findings.conditions(_is_same)):
            blocks += ["### Each metric beside its simulation", beside_the_simulation(findings)]
    return "\n\n".join([*blocks, *more]) + "\n"
