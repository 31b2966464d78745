"""What the project promises of its verdicts, and whether the pairs that were taken bear it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.table import markdown_table
from benchmarks.verdicts.proof.blocks import FIRST, LAST, PLAN, Block, differences
from benchmarks.verdicts.proof.findings import causes, injected
from benchmarks.verdicts.proof.findings.tables import Findings, bounded, count, looks
from benchmarks.verdicts.proof.journal import AA, Condition, Pair, cells_of
from pytest_dllama.stats.decision import theta_of
from pytest_dllama.stats.noise import pair_noise
from pytest_dllama.verdict.limits.limit import TOLERANCES

FALSE_ALARMS, FALSE_ALARMS_BUSY = 0.01, 0.02
FOUND, FOUND_CHANGE = 0.85, 0.10
STEADY_SD = 0.02  # of a pair, ln: from here on three pairs must be enough
NAMED = 0.95


def promises(findings: Findings) -> list[str]:
    """A heading and a table; nothing where nothing that was promised was measured."""
    rows = [
        *_false_alarms(findings, Condition(stage=AA), FALSE_ALARMS),
        *_false_alarms(findings, Condition(stage=AA, is_busy=True), FALSE_ALARMS_BUSY),
        *_found(findings),
        *_named(findings),
    ]
    if not rows:
        return []
    return ["### Promises", markdown_table(["promised", "pairs", "found", "kept"], iter(rows))]


def _false_alarms(findings: Findings, condition: Condition, limit: float) -> Iterator[list[str]]:
    where = " beside a busy process" if condition.is_busy else ""
    for size in (FIRST, LAST):
        judged = findings.judged(findings.blocks(condition, size))
        if judged:
            wrong = count(judged, "REGRESSED")
            yield [
                f"the same against the same{where}: REGRESSED in at most {100 * limit:g} %",
                looks(size),
                f"{bounded(wrong, len(judged))} of {len(judged)}",
                _kept(wrong <= limit * len(judged)),
            ]


def _found(findings: Findings) -> Iterator[list[str]]:
    """At three pairs where a pair is steady enough for it, else at the end of the plan.

    By whichever of both figures of a token's time finds it, as a user's cell is judged.
    """
    condition = injected.condition_of(FOUND_CHANGE)
    pairs = findings.journal.pairs(condition)
    for cell in cells_of(pairs):
        own = [pair for pair in pairs if pair.cell == cell]
        if len(own) < FIRST:
            continue
        sds = [sd for metric in injected.METRICS if (sd := _sd(findings, own, metric)) is not None]
        sd = min(sds)
        size = FIRST if sd <= STEADY_SD else LAST
        judged = findings.judged(findings.blocks(condition, size, cell), injected.METRICS)
        if judged:
            hits = count(judged, "REGRESSED")
            yield [
                f"{cell}, TPOT {100 * FOUND_CHANGE:+g} %, sd of a pair {100 * sd:.1f} %: found in "
                f"at least {100 * FOUND:g} %",
                looks(size),
                f"{bounded(hits, len(judged))} of {len(judged)}",
                _kept(hits >= FOUND * len(judged)),
            ]


def _sd(findings: Findings, own: Sequence[Pair], metric: str) -> float | None:
    """Of one pair, in ln; None where its sessions do not tell the metric."""
    if not Block("", tuple(own)).values("base", metric):
        return None
    d, theta = differences(own, metric), theta_of(TOLERANCES[metric])
    return pair_noise(d, theta, findings.priors[metric], PLAN.level).sd.value


def _named(findings: Findings) -> Iterator[list[str]]:
    for cause in causes.CAUSES:
        right, trials = causes.named_right(findings, cause)
        if trials:
            yield [
                f"`{cause.inject}`: {cause} named in at least {100 * NAMED:g} %",
                str(FIRST),
                f"{bounded(right, trials)} of {trials}",
                _kept(right >= NAMED * trials),
            ]


def _kept(is_kept: bool) -> str:
    return "yes" if is_kept else "**no**"
