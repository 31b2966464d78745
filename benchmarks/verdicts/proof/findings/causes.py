"""Injected causes: how often the part that was slowed down is the part that is named."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.table import markdown_table
from benchmarks.verdicts.proof.blocks import FIRST, Block
from benchmarks.verdicts.proof.findings.tables import Findings, bounded, count
from benchmarks.verdicts.proof.journal import Condition, Journal, Pair, cells_of
from pytest_dllama.metrics.parts import (
    FEED_FORWARD,
    LOGITS,
    OTHER,
    OUTPUT_PROJECTION,
    QKV,
    SAMPLING,
)
from pytest_dllama.record.verdict import Attribution
from pytest_dllama.verdict.attribution import attribute
from pytest_dllama.verdict.parts.cause import WorkChange, work_changes
from pytest_dllama.verdict.parts.columns import pair_of

CAUSE, SMALL = "cause", "small"  # the stages
SMALL_CHANGE = 0.005  # of TPOT, in one part
SMALL_PAIRS = 5
SMALL_PARTS = (OUTPUT_PROJECTION, FEED_FORWARD)  # a small part of the step, and the largest


@dataclass(frozen=True, slots=True)
class Cause:
    """What is slowed down, and what must be named for it."""

    inject: str
    part: str
    phase: str = "decode"
    metric: str = "tpot_ms"
    rank: int | None = None  # of several that do such work; None: all that do

    def is_named_by(self, found: Attribution) -> bool:
        """Whether this work is named as the cause, and on these ranks."""
        named = found.cause
        if named is None or (named.phase, named.part) != (self.phase, self.part):
            return False
        return named.is_everywhere if self.rank is None else named.ranks == (self.rank,)

    def __str__(self) -> str:
        where = self.part if self.rank is None else f"{self.part} on rank {self.rank}"
        return f"{where}, {self.phase}"


# Each by about 10 % of TPOT or more, so that its sign is no matter of chance.
CAUSES = (
    Cause("feed-forward=40%", FEED_FORWARD),
    Cause("qkv=150%", QKV),
    Cause("output-projection=400%", OUTPUT_PROJECTION),
    Cause("logits=150%", LOGITS),
    Cause("sampling=1ms", SAMPLING),
    Cause("rank=1:feed-forward=80%", FEED_FORWARD, rank=1),
    Cause("ttft=40ms", OTHER, phase="prefill", metric="ttft_s"),
)


def condition_of(cause: Cause) -> Condition:
    """One cause on the new side."""
    return Condition(stage=CAUSE, inject=cause.inject)


def small_condition(journal: Journal, cell: str, part: str) -> Condition | None:
    """That part slowed down on every rank so that TPOT grows by half a percent.

    By the share of that part in what was measured of the cell; once measured it stays the same.
    None: no session of the cell told its parts.
    """
    for condition in journal.conditions():
        is_it = condition.stage == SMALL and part_of(condition) == part
        if is_it and cell in cells_of(journal.pairs(condition)):
            return condition
    shares = [share for pair in journal.pairs() if (share := _share(pair, cell, part)) is not None]
    if not shares:
        return None
    percent = 100 * SMALL_CHANGE / statistics.median(shares)
    return Condition(stage=SMALL, inject=f"{part}={percent:.1f}%")


def part_of(condition: Condition) -> str:
    """The part that a small change sits in.

    >>> part_of(Condition(stage=SMALL, inject="qkv=5.3%"))
    'qkv'
    """
    return condition.inject.partition("=")[0]


def _share(pair: Pair, cell: str, part: str) -> float | None:
    """Of TPOT, on the root, without an injection."""
    sample = pair.samples.get("base")
    if pair.cell != cell or sample is None or not sample.tpot_ms:
        return None
    own_ms = [
        time.ms
        for time in sample.parts
        if (time.phase, time.part, time.rank) == ("decode", part, 0)
    ]
    return sum(own_ms) / sample.tpot_ms if own_ms else None


def causes(findings: Findings) -> list[str]:
    """Headings and tables; nothing where no cause was injected."""
    known = findings.journal.conditions()
    found = [cause for cause in CAUSES if condition_of(cause) in known]
    blocks = []
    if found:
        head = ["cell", "injected", "to be named", "verdicts", "REGRESSED", "named right"]
        rows = (row for cause in found for row in _cause_rows(findings, cause))
        blocks += ["### Which part was slowed down", markdown_table([*head, "named else"], rows)]
    small = [condition for condition in known if condition.stage == SMALL]
    if small:
        head = ["cell", "injected", "TPOT", "blocks of 5 pairs", "part named", "pairs it takes"]
        rows = (row for condition in small for row in _small_rows(findings, condition))
        blocks += ["### Half a percent of TPOT, in one part", markdown_table(head, rows)]
    return blocks


def named_right(findings: Findings, cause: Cause) -> tuple[int, int]:
    """Blocks of three pairs in which it was named, and how many there were."""
    blocks = findings.blocks(condition_of(cause), FIRST)
    return sum(cause.is_named_by(_attributed(b, cause.metric)) for b in blocks), len(blocks)


def _cause_rows(findings: Findings, cause: Cause) -> Iterator[list[str]]:
    condition = condition_of(cause)
    for cell in cells_of(findings.journal.pairs(condition)):
        blocks = findings.blocks(condition, FIRST, cell)
        if not blocks:
            continue
        found = [_attributed(block, cause.metric) for block in blocks]
        wrong = [_name(each) for each in found if not cause.is_named_by(each)]
        others = ", ".join(f"{wrong.count(name)} {name}" for name in dict.fromkeys(wrong))
        judged = findings.judged(blocks, (cause.metric,))
        yield [
            *(cell, f"`{cause.inject}`", str(cause), str(len(blocks))),
            bounded(count(judged, "REGRESSED"), len(blocks)),
            bounded(len(blocks) - len(wrong), len(blocks)),
            others or "-",
        ]


def _attributed(block: Block, metric: str) -> Attribution:
    return attribute(metric, block.samples("base"), block.samples("new"))


def _name(found: Attribution) -> str:
    """What was named, in the fewest words."""
    if found.cause is not None:
        ranks = found.cause.ranks
        on = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
        return f"{found.cause.part} on {on}"
    if not found.parts:
        return "nothing"
    part = found.parts[0]
    return part.part if part.waited_for is None else f"waiting for rank {part.waited_for}"


def _small_rows(findings: Findings, condition: Condition) -> Iterator[list[str]]:
    part = part_of(condition)
    for cell in cells_of(findings.journal.pairs(condition)):
        blocks = findings.blocks(condition, SMALL_PAIRS, cell)
        if not blocks:
            continue
        found = [_work(block, part) for block in blocks]
        needed = [each.pairs_to_be_sure for each in found if each is not None]
        named = sum(each is not None and each.is_sure and each.change.change > 0 for each in found)
        yield [
            *(cell, f"`{condition.inject}`", f"+{100 * SMALL_CHANGE:g} %", str(len(blocks))),
            *(bounded(named, len(blocks)), _median(needed)),
        ]


def _work(block: Block, part: str) -> WorkChange | None:
    """How sure it is that this part of decode changed, among all of them."""
    sides = zip(block.samples("base"), block.samples("new"), strict=True)
    told = [pair for base, new in sides if (pair := pair_of("tpot_ms", base, new))]
    found = work_changes(told) if len(told) > 1 else []
    return next((each for each in found if each.change.part == part), None)


def _median(needed: Sequence[int | None]) -> str:
    """None is more than anybody takes."""
    ordered = sorted(needed, key=lambda pairs: (pairs is None, pairs or 0))
    middle = ordered[len(ordered) // 2] if ordered else None
    return "-" if middle is None else f"median {middle}"
