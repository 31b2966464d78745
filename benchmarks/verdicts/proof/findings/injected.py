"""Changes of a known size: how many are found, beside the simulated operating curve."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.table import markdown_table
from benchmarks.verdicts.proof.blocks import FIRST, LAST, PLAN, Block, differences
from benchmarks.verdicts.proof.findings.expected import simulated
from benchmarks.verdicts.proof.findings.tables import (
    NAMES,
    Findings,
    bounded,
    count,
    looks,
    percent,
)
from benchmarks.verdicts.proof.journal import Condition, Pair, cells_of
from pytest_dllama.record.verdict import PairStatus
from pytest_dllama.stats.decision import theta_of
from pytest_dllama.stats.noise import pair_noise
from pytest_dllama.verdict.limits.limit import TOLERANCES

INJECTED = "injected"  # the stage
METRICS = ("tpot_ms", "steady_tpot_ms")  # what is slowed down
LEVELS = (0.02, 0.05, 0.10, 0.15)
OTHERS: Sequence[PairStatus] = ("INCONCLUSIVE", "PASS")


def condition_of(level: float) -> Condition:
    """TPOT that much slower on the new side.

    >>> condition_of(0.15).inject
    'tpot=15%'
    """
    return Condition(stage=INJECTED, inject=f"tpot={100 * level:g}%")


def injected(findings: Findings) -> list[str]:
    """A heading and a table; nothing where nothing was injected."""
    known = findings.journal.conditions()
    levels = [level for level in LEVELS if condition_of(level) in known]
    if not levels:
        return []
    head = ["cell", "injected", "metric", "measured", "sd of a pair (ln)", "pairs", "verdicts"]
    head += ["REGRESSED"]
    head += ["simulated", *OTHERS, "s a verdict"]
    rows = (row for level in levels for row in _rows(findings, level))
    return ["### TPOT slowed down by a known share", markdown_table(head, rows)]


def _rows(findings: Findings, level: float) -> Iterator[list[str]]:
    pairs = findings.journal.pairs(condition_of(level))
    for cell in cells_of(pairs):
        own = [pair for pair in pairs if pair.cell == cell]
        for metric in METRICS:
            if len(own) >= FIRST and Block(cell, tuple(own)).values("base", metric):
                yield from _metric_rows(findings, level, own, metric)


def _metric_rows(
    findings: Findings, level: float, own: Sequence[Pair], metric: str
) -> Iterator[list[str]]:
    prior, tolerance = findings.priors[metric], TOLERANCES[metric]
    d = differences(own, metric)
    sd = pair_noise(d, theta_of(tolerance), prior, PLAN.level).sd.value
    curve = simulated(sd, level, tolerance, prior, PLAN)
    change, cell = float(np.expm1(d.mean())), own[0].cell
    for size, expected in ((FIRST, curve.first), (LAST, curve.last)):
        found = findings.judged(findings.blocks(condition_of(level), size, cell), (metric,))
        if found:
            yield [
                *(cell, f"+{100 * level:g} %", NAMES[metric]),
                *(f"{100 * change:+.1f} %", f"{100 * sd:.1f} %", looks(size), str(len(found))),
                bounded(count(found, "REGRESSED"), len(found)),
                f"{100 * expected['REGRESSED']:.0f} %",
                *(percent(count(found, status), len(found)) for status in OTHERS),
                f"{statistics.median(verdict.wall_s for verdict in found):.0f}",
            ]
