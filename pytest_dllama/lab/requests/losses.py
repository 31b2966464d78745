"""Retries of a cell after lost machines: which failures are no fault of the engine, how often.

A measurement that is wrong (INVALID) or slow (FAIL) is never taken again: it would choose figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_dllama.lab.requests.failure import KILLED, RequestFailed
from pytest_dllama.record.cell import CellRecord

# Kinds of a failed request: of our engine, of the suites, of the real dllama.
LOSSES = frozenset(
    {"WorkerLost", "WireError", "WorkerNotReady", "HostError", "TimeoutError", KILLED}
    | {"WorkerUnreachable", "NET_TIMEOUT"}
)


@dataclass(slots=True)
class Losses:
    """What one cell has lost so far; at most `limit` times it is measured anew."""

    limit: int
    reasons: list[str] = field(default_factory=list)
    log_files: list[Path] = field(default_factory=list)

    def allow(self, error: Exception) -> bool:
        """Whether the cell is to be measured anew after this failure, which is remembered then."""
        is_loss = isinstance(error, RequestFailed) and error.kind in LOSSES
        if not is_loss or len(self.reasons) >= self.limit:
            return False
        self.reasons.append(" ".join(str(error).split()))
        self.log_files += getattr(error, "log_files", ())
        return True

    @property
    def prefix(self) -> str:
        """Of the logs' names of an attempt: no attempt overwrites another's."""
        return f"retry{len(self.reasons)}." if self.reasons else ""

    def marked(self, record: CellRecord, logs: Sequence[str]) -> CellRecord:
        """The cell's record with what was lost before; `logs` are those of `log_files`."""
        if not self.reasons:
            return record
        told = {"retried": "; ".join(self.reasons), "logs": (*logs, *record.logs)}
        return record.model_copy(update=told)
