"""A run as the report walks through it: models and node counts in order, cells found by both.

Knows nothing of wording. Whether a cell's speed counts is decided here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import ModelRecord, RunRecord


@dataclass(frozen=True, slots=True)
class RunView:
    """The run, indexed."""

    run: RunRecord
    models: tuple[str, ...]  # in the run's order
    node_counts: tuple[int, ...]  # ascending
    cells: Mapping[tuple[str, int], CellRecord]

    @classmethod
    def of(cls, run: RunRecord) -> RunView:
        """Index `run`; of two cells for the same model and node count the first counts."""
        cells: dict[tuple[str, int], CellRecord] = {}
        for cell in run.cells:
            cells.setdefault((cell.model, cell.nodes), cell)
        named = [model.name for model in run.models] + [model for model, _ in cells]
        counts = {*run.request.node_counts, *(nodes for _, nodes in cells)}
        return cls(run, tuple(dict.fromkeys(named)), tuple(sorted(counts)), MappingProxyType(cells))

    def cell(self, model: str, nodes: int) -> CellRecord | None:
        """The cell, or None if the run has none."""
        return self.cells.get((model, nodes))

    def ordered(self) -> tuple[CellRecord, ...]:
        """Every cell: by model, then by node count."""
        keys = [(model, nodes) for model in self.models for nodes in self.node_counts]
        return tuple(self.cells[key] for key in keys if key in self.cells)

    def model_record(self, model: str) -> ModelRecord | None:
        """The model's description, or None if the run has cells of it only."""
        return next((record for record in self.run.models if record.name == model), None)


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
