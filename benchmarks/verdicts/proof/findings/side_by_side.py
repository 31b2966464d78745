"""Our verdicts beside those of other tools, on the same sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.table import markdown_table
from benchmarks.verdicts.proof.blocks import FIRST, LAST, Block
from benchmarks.verdicts.proof.findings import rivals
from benchmarks.verdicts.proof.findings.injected import INJECTED
from benchmarks.verdicts.proof.findings.tables import Findings
from benchmarks.verdicts.proof.journal import AA, Condition
from pytest_dllama.stats.intervals import clopper_pearson

OURS = "pytest-dllama: REGRESSED"
PYTEST_BENCHMARK = f"pytest-benchmark: `--benchmark-compare-fail={rivals.LIMIT}`"
WELCH = "Welch's t, slower with p < 0.05"
OTAVA = "Apache Otava: `analyze -M 0.05`"


def side_by_side(findings: Findings, folder: Path) -> list[str]:
    """A heading and a table: how often each judge calls the new side's TPOT slower."""
    conditions = findings.conditions(lambda c: c.stage in (AA, INJECTED) and not c.is_busy)
    conditions += findings.conditions(lambda c: c.stage == AA and c.is_busy)
    columns = [(c, size) for c in conditions for size in (FIRST, LAST) if findings.blocks(c, size)]
    if not columns:
        return []
    flagged = [_by_judge(findings, c, size, folder) for c, size in columns]
    head = ["TPOT called slower", *(f"{_name(c)}, {size} pairs" for c, size in columns)]
    rows = ([judge, *(_share(column.get(judge)) for column in flagged)] for judge in _judges())
    notes = [] if rivals.otava_program() else [NO_OTAVA]
    return ["### Other judges of the same sessions", markdown_table(head, iter(rows)), *notes]


NO_OTAVA = (
    "Apache Otava was left out: there is no program `otava` (`pipx install apache-otava` gives it "
    "an environment of its own; it pins another numpy)."
)


def _judges() -> Sequence[str]:
    return OURS, PYTEST_BENCHMARK, WELCH, OTAVA


def _name(condition: Condition) -> str:
    name = condition.inject or condition.stage
    return f"{name}, busy" if condition.is_busy else name


def _share(found: tuple[int, int] | None) -> str:
    if found is None or not found[1]:
        return "-"
    interval = clopper_pearson(*found)
    return f"{found[0]} of {found[1]} ({100 * interval.lower:.0f} to {100 * interval.upper:.0f} %)"


def _by_judge(
    findings: Findings, condition: Condition, size: int, folder: Path
) -> Mapping[str, tuple[int, int]]:
    """Judge -> blocks it flags, blocks it saw."""
    found = findings.blocks(condition, size)
    ours = findings.judged(found, (rivals.METRIC,))
    flags: dict[str, tuple[int, int]] = {
        OURS: (sum(verdict.status == "REGRESSED" for verdict in ours), len(found)),
        PYTEST_BENCHMARK: (len(rivals.by_pytest_benchmark(found, folder / "rows")), len(found)),
        WELCH: (len(rivals.by_welch(found)), len(found)),
    }
    program = rivals.otava_program()
    if program:
        pasts = dict(_pasts(findings, condition, found))
        known = [block for block in found if block.id in pasts]
        flags[OTAVA] = len(rivals.by_otava(program, known, pasts, folder / "series")), len(known)
    return flags


def _pasts(
    findings: Findings, condition: Condition, found: Sequence[Block]
) -> Iterator[tuple[str, list[float]]]:
    """The base sessions of the same cell that ran before a block, the last PAST of them.

    Under the same load: a busy past, or a quiet one.
    """
    pairs = [p for p in findings.journal.pairs() if p.condition.is_busy == condition.is_busy]
    places = {id(pair): place for place, pair in enumerate(pairs)}
    for block in found:
        first = places[id(block.pairs[0])]
        own = [pair for pair in pairs[:first] if pair.cell == block.cell][-rivals.PAST :]
        values = Block(block.cell, tuple(own)).values("base", rivals.METRIC)
        if len(values) == rivals.PAST:
            yield block.id, values
