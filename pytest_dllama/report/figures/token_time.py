"""Where a token's time goes on the root, in ms a decode step: the finest division that is known."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.cell_detail import median_sample
from pytest_dllama.report.figures.charts import finite

ROOT = 0
COMPUTE, SYNC = "compute", "sync"  # where the engine tells no parts


# What pictures call parts whose id is no word; a page's own words are in the templates.
PART_NAMES = {
    COMPUTE: "computing",
    "eval": "computing",
    SYNC: "exchange and waiting",
    "qkv": "q, k, v",
    "output-projection": "output projection",
    "exchange-copy": "exchange: copying",
    "exchange-wire": "exchange: wire",
    "exchange-wait": "exchange: waiting",
}


@dataclass(frozen=True, slots=True)
class TokenTime:
    """Parts of a mean decode step, in the order of a step."""

    parts: tuple[tuple[str, float], ...]  # (part, ms)

    @property
    def whole_ms(self) -> float:
        """All of it."""
        return sum(ms for _, ms in self.parts)

    @property
    def largest(self) -> tuple[str, float]:
        """The part that takes most."""
        return max(self.parts, key=lambda part: part[1])


def token_time(cell: CellRecord | None) -> TokenTime | None:
    """Of the median repeat's parts; else TPOT by the sync share; None where neither is known."""
    if cell is None or cell.status != "ok":
        return None
    return _of_parts(cell) or _of_shares(cell)


def _of_parts(cell: CellRecord) -> TokenTime | None:
    sample = median_sample(cell)
    found: dict[str, float] = defaultdict(float)
    for part in sample.parts if sample else ():
        if part.phase == "decode" and part.rank == ROOT and (ms := finite(part.ms)) is not None:
            found[part.part] += max(ms, 0.0)
    return TokenTime(tuple(found.items())) if sum(found.values()) > 0 else None


def _of_shares(cell: CellRecord) -> TokenTime | None:
    tpot, sync = cell.metrics.get("tpot_ms"), cell.metrics.get("sync_share")
    if tpot is None or (sync is None and cell.nodes != 1):
        return None
    ms, share = finite(tpot.value), finite(sync.value) if sync else 0.0  # one node waits for nobody
    if ms is None or share is None or ms <= 0 or not 0 <= share <= 1:
        return None
    return TokenTime(((COMPUTE, ms * (1 - share)), (SYNC, ms * share)))
