"""Injected causes: how often the part that was slowed down is the part that is named."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.verdict_proof.blocks import FIRST, Block
from benchmarks.verdict_proof.journal import Condition, Journal, Pair, cells_of
from benchmarks.verdict_proof.tables import Findings, bounded, count
from benchmarks.verdict_simulation import table
from pytest_dllama.lab.pairs.side import NAMES
from pytest_dllama.metrics.parts import (
    EXCHANGE_WAIT,
    FEED_FORWARD,
    LOGITS,
    OTHER,
    OUTPUT_PROJECTION,
    QKV,
    SAMPLING,
)
from pytest_dllama.record.cell import Sample
from pytest_dllama.record.verdict import AttributedPart
from pytest_dllama.verdict.attribution import attribute

CAUSE, SMALL = "cause", "small"  # the stages
SMALL_CHANGE = 0.005  # of TPOT, in one part
SMALL_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Cause:
    """What is slowed down, and what must be named for it."""

    inject: str
    part: str
    phase: str = "decode"
    metric: str = "tpot_ms"
    rank: int = 0  # another one is named by what the root waits for

    def is_named_by(self, found: AttributedPart) -> bool:
        """Whether the part with the largest share is this one."""
        if found.phase != self.phase:
            return False
        if self.rank:
            names = found.part, found.waited_for, found.because_part
            return names == (EXCHANGE_WAIT, self.rank, self.part)
        return (found.part, found.rank) == (self.part, 0)

    def __str__(self) -> str:
        where = f"waiting for rank {self.rank}: {self.part}" if self.rank else self.part
        return f"{where}, {self.phase}"


CAUSES = (
    Cause("feed-forward=40%", FEED_FORWARD),
    Cause("qkv=150%", QKV),
    Cause("output-projection=200%", OUTPUT_PROJECTION),
    Cause("logits=80%", LOGITS),
    Cause("sampling=1ms", SAMPLING),
    Cause("rank=1:feed-forward=80%", FEED_FORWARD, rank=1),
    Cause("ttft=40ms", OTHER, phase="prefill", metric="ttft_s"),
)


def condition_of(cause: Cause) -> Condition:
    """One cause on the new side."""
    return Condition(stage=CAUSE, inject=cause.inject)


def small_condition(journal: Journal, cell: str) -> Condition | None:
    """Feed-forward slowed down so that TPOT grows by half a percent.

    By the share of that part in what was measured of the cell; once measured it stays the same.
    None: no session of the cell told its parts.
    """
    for condition in journal.conditions():
        if condition.stage == SMALL and cell in cells_of(journal.pairs(condition)):
            return condition
    shares = [share for pair in journal.pairs() if (share := _share(pair, cell)) is not None]
    if not shares:
        return None
    percent = 100 * SMALL_CHANGE / statistics.median(shares)
    return Condition(stage=SMALL, inject=f"{FEED_FORWARD}={percent:.1f}%")


def _share(pair: Pair, cell: str) -> float | None:
    """Of TPOT, on the root, without an injection."""
    sample = pair.samples.get("base")
    if pair.cell != cell or sample is None or not sample.tpot_ms:
        return None
    own_ms = [
        part.ms
        for part in sample.parts
        if (part.phase, part.part, part.rank) == ("decode", FEED_FORWARD, 0)
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
        blocks += ["### Which part was slowed down", table([*head, "named else"], rows)]
    small = [condition for condition in known if condition.stage == SMALL]
    if small:
        head = ["cell", "injected", "TPOT", "blocks of 5 pairs", "part named", "pairs it takes"]
        rows = (row for condition in small for row in _small_rows(findings, condition))
        blocks += ["### Half a percent of TPOT, in one part", table(head, rows)]
    return blocks


def named_right(findings: Findings, cause: Cause) -> tuple[int, int]:
    """Blocks of three pairs in which it was named first, and how many there were."""
    blocks = findings.blocks(condition_of(cause), FIRST)
    firsts = [_first_part(block, cause.metric) for block in blocks]
    return sum(part is not None and cause.is_named_by(part) for part in firsts), len(blocks)


def _cause_rows(findings: Findings, cause: Cause) -> Iterator[list[str]]:
    condition = condition_of(cause)
    for cell in cells_of(findings.journal.pairs(condition)):
        blocks = findings.blocks(condition, FIRST, cell)
        if not blocks:
            continue
        firsts = [_first_part(block, cause.metric) for block in blocks]
        right = sum(part is not None and cause.is_named_by(part) for part in firsts)
        wrong = [part for part in firsts if part is None or not cause.is_named_by(part)]
        others = ", ".join(dict.fromkeys(map(_name, wrong)))
        judged = findings.judged(blocks, (cause.metric,))
        yield [
            *(cell, f"`{cause.inject}`", str(cause), str(len(blocks))),
            bounded(count(judged, "REGRESSED"), len(blocks)),
            bounded(right, len(blocks)),
            others or "-",
        ]


def _first_part(block: Block, metric: str) -> AttributedPart | None:
    found = attribute(metric, *_samples(block)).parts
    return found[0] if found else None


def _samples(block: Block) -> tuple[list[Sample], list[Sample]]:
    base, new = ([pair.samples[side] for pair in block.pairs] for side in NAMES)
    return base, new


def _name(part: AttributedPart | None) -> str:
    if part is None:
        return "nothing"
    if part.waited_for is None:
        return part.part
    because = f" ({part.because_part})" if part.because_part else ""
    return f"waiting for rank {part.waited_for}{because}"


def _small_rows(findings: Findings, condition: Condition) -> Iterator[list[str]]:
    for cell in cells_of(findings.journal.pairs(condition)):
        blocks = findings.blocks(condition, SMALL_PAIRS, cell)
        if not blocks:
            continue
        parts = [_part(block) for block in blocks]
        needed = [part.pairs_to_be_sure for part in parts if part is not None]
        named = sum(part is not None and part.is_sure and part.effect_ms > 0 for part in parts)
        yield [
            *(cell, f"`{condition.inject}`", f"+{100 * SMALL_CHANGE:g} %", str(len(blocks))),
            *(bounded(named, len(blocks)), _median(needed)),
        ]


def _part(block: Block) -> AttributedPart | None:
    found = attribute("tpot_ms", *_samples(block)).parts
    return next((part for part in found if part.part == FEED_FORWARD), None)


def _median(needed: Sequence[int | None]) -> str:
    """None is more than anybody takes."""
    ordered = sorted(needed, key=lambda pairs: (pairs is None, pairs or 0))
    middle = ordered[len(ordered) // 2] if ordered else None
    return "-" if middle is None else f"median {middle}"
