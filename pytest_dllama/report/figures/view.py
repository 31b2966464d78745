"""A run as the report walks through it: models and node counts in order, cells found by both.

A model measured with several workloads counts as several, each named with its workload. Knows
nothing of wording. Whether a cell's speed counts is decided here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import CellVerdict, VerdictFile
from pytest_dllama.report.figures.short_names import with_short_names


@dataclass(frozen=True, slots=True)
class RunView:
    """The run, indexed."""

    run: RunRecord
    models: tuple[str, ...]  # in the run's order, with their workloads
    node_counts: tuple[int, ...]  # ascending
    cells: Mapping[tuple[str, int], CellRecord]
    verdict: VerdictFile | None = None  # of the same run against a baseline

    @classmethod
    def of(cls, run: RunRecord, verdict: VerdictFile | None = None) -> RunView:
        """Index `run`, long names shortened; of two cells with the same id the first counts."""
        run, verdict = with_short_names(run, verdict)
        cells: dict[tuple[str, int], CellRecord] = {}
        variants: dict[str, dict[str, None]] = {model.name: {} for model in run.models}
        for cell in run.cells:
            name = name_of(cell)
            cells.setdefault((name, cell.nodes), cell)
            variants.setdefault(cell.model, {})[name] = None
        named = [name for model, names in variants.items() for name in names or (model,)]
        counts = {*run.request.node_counts, *(nodes for _, nodes in cells)}
        models, ascending = tuple(dict.fromkeys(named)), tuple(sorted(counts))
        return cls(run, models, ascending, MappingProxyType(cells), verdict)

    def cell(self, model: str, nodes: int) -> CellRecord | None:
        """The cell, or None if the run has none."""
        return self.cells.get((model, nodes))

    def ordered(self) -> tuple[CellRecord, ...]:
        """Every cell: by model, then by node count."""
        keys = [(model, nodes) for model in self.models for nodes in self.node_counts]
        return tuple(self.cells[key] for key in keys if key in self.cells)

    def judged(self, cell: CellRecord) -> CellVerdict | None:
        """The cell's verdict against the baseline, or None if it has none."""
        found = self.verdict.cells if self.verdict else ()
        return next((judged for judged in found if judged.id == cell.id), None)


def name_of(cell: CellRecord) -> str:
    """The model with what distinguishes its work, as a cell's id without the node count."""
    return f"{cell.model}{cell.workload.suffix}"


def counts(cell: CellRecord | None) -> bool:
    """Whether the cell's figures may be compared: it ran, and its output is not wrong."""
    if cell is None or cell.status != "ok":
        return False
    if cell.output is not None and cell.output.status == "different":
        return False
    return cell.verdict is None or cell.verdict.status not in ("INVALID", "ERROR")


def verdict_of(cell: CellRecord | None) -> str:
    """PASS, FAIL, INVALID or ERROR; SKIPPED for a skipped cell; "-" where nothing was judged."""
    if cell is None:
        return "-"
    if cell.verdict is not None:
        return cell.verdict.status
    return {"ok": "-", "failed": "ERROR", "skipped": "SKIPPED"}[cell.status]
