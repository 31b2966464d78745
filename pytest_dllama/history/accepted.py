"""Accepted runs: what later runs are compared with, and the anchor that creep is measured from.

Accepting adds an entry; the newest one counts, and all of them tell how the level moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pytest_dllama.history.ledger import Ledger
from pytest_dllama.history.run_files import RunFileError
from pytest_dllama.history.store import RunStore, StoredRun
from pytest_dllama.record.base import Record
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord

ACCEPTANCE_VERSION = 1
Kind = Literal["accepted", "anchor"]


class Acceptance(Record):
    """One decision of a person: this run is how it should be."""

    schema_version: Annotated[int, Field(ge=1, le=ACCEPTANCE_VERSION)] = ACCEPTANCE_VERSION
    kind: Kind
    run: str  # its name in the history
    engine: str
    decided_utc: str
    baseline: str | None = None  # SPEC of --baseline that makes it run again; None: cannot be
    note: str = ""


def acceptances(store: RunStore) -> Ledger[Acceptance]:
    """The decisions of one cluster."""
    return Ledger(store.cluster / "accepted", Acceptance)


def latest(store: RunStore, kind: Kind, engine: str | None = None) -> Acceptance | None:
    """The decision that counts: the newest of its kind, of this engine if one is named."""
    found = [
        entry
        for entry in acceptances(store).entries()
        if entry.kind == kind and engine in (None, entry.engine)
    ]
    return found[-1] if found else None


def stored(store: RunStore, kind: Kind, engine: str | None = None) -> StoredRun | None:
    """The run of the decision that counts; None if there is none, or its file is gone."""
    entry = latest(store, kind, engine)
    if entry is None:
        return None
    try:
        return StoredRun(entry.run, store.read(entry.run))
    except RunFileError:
        return None


def accepted_runs(store: RunStore) -> set[str]:
    """Names of all runs that were ever accepted."""
    entries = acceptances(store).entries()
    return {entry.run for entry in entries if entry.kind == "accepted"}


def protected(store: RunStore) -> set[str]:
    """Names of runs that retention must leave: everything that was ever decided on."""
    return {entry.run for entry in acceptances(store).entries()}


def objections(run: RunRecord) -> list[str]:
    """Why a run must not be accepted, a sentence each; none: it may.

    A run whose output or bytes are wrong is no reference, and neither is one that lacks cells.
    """
    if not run.cells:
        return ["the run has no cell"]
    if inject := run.request.inject:
        return [f"the run was slowed down on purpose (--inject {inject})"]
    return [f"{cell.id}: {why}" for cell in run.cells for why in _wrong_with(cell)]


def _wrong_with(cell: CellRecord) -> Iterator[str]:
    if cell.status != "ok":
        yield cell.error or cell.status
    elif cell.verdict is not None and cell.verdict.status in ("INVALID", "ERROR"):
        reasons = "; ".join(cell.verdict.reasons) or "no reason given"
        yield f"{cell.verdict.status}: {reasons}"
    elif cell.output is not None and cell.output.status == "engine_fault":
        yield f"the output shows a fault of the engine: {cell.output.note or 'not described'}"
