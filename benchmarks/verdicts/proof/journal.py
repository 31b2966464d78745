"""Every measured pair as one line of JSON, on disk before the next one begins.

A process that is killed leaves whole lines and at most one torn last line, which is passed over.
What a row means never changes; rows of an earlier day and of today may stand in one file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pytest_dllama.lab.pairs.side import Name
from pytest_dllama.record.base import Record
from pytest_dllama.record.cell import Sample
from pytest_dllama.record.run import Environment, Revision
from pytest_dllama.record.verdict import SideSession

SCHEMA = 1
AA = "A/A"  # both sides are the same
CALIBRATION = "calibration"  # likewise, and known to the prior


class Condition(Record):
    """What is compared under which circumstances."""

    stage: str  # AA, CALIBRATION, or what the injection is for
    inject: str = ""  # into the new side, as --inject has it
    is_busy: bool = False  # another process computed on one core meanwhile

    def __str__(self) -> str:
        text = f"{self.stage}: {self.inject}" if self.inject else self.stage
        return f"{text}, busy" if self.is_busy else text


class Comparison(Record):
    """One use of the duet, from its oracles and warm-up on."""

    kind: Literal["comparison"] = "comparison"
    schema_version: int = SCHEMA
    id: str
    created_utc: str
    condition: Condition
    cells: tuple[str, ...]
    seed: int
    steps: int
    prompt: str
    revision: Revision | None  # of the checkout; None outside one
    fingerprint: str
    environment: Environment


class Pair(Record):
    """One measured pair of a comparison."""

    kind: Literal["pair"] = "pair"
    comparison: str
    condition: Condition
    cell: str
    number: int  # within the comparison, from 1
    sessions: tuple[SideSession, SideSession]  # in the order they ran
    samples: Mapping[Name, Sample] = {}
    invalid: tuple[str, ...] = ()
    wall_s: float
    load: float  # the machine's load average of the last minute

    def metrics(self, side: Name) -> Mapping[str, float | None]:
        """What one side measured; of sessions before there was steady TPOT, by their gaps."""
        found = next(session.metrics for session in self.sessions if session.side == side)
        sample = self.samples.get(side)
        known = {} if sample is None else {"steady_tpot_ms": sample.steady_tpot_ms}
        return known | found


class Failure(Record):
    """A cell of a comparison that ended as ERROR or INVALID."""

    kind: Literal["failure"] = "failure"
    comparison: str
    condition: Condition
    cell: str
    status: str
    reasons: tuple[str, ...]


Row = Comparison | Pair | Failure
_KINDS: Mapping[str, type[Comparison] | type[Pair] | type[Failure]] = {
    "comparison": Comparison,
    "pair": Pair,
    "failure": Failure,
}


class JournalError(ValueError):
    """A line of a journal, other than its last, that cannot be read."""


class Journal:
    """The rows of one proof.

    Args:
        path: a file of JSON lines; made if it is not there.

    Raises:
        JournalError: a line that is damaged, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found = list(_read(path)) if path.exists() else []
        self.rows: list[Row] = [row for row in found if row is not None]
        self.torn = len(found) - len(self.rows)  # lines that a killed process left

    def append(self, row: Row) -> None:
        """Add a row; it is on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if file.tell() and not _ends_whole(file.fileno(), file.tell()):
                file.write(b"\n")  # a torn line stays, alone, as it is
            file.write(row.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)

    def pairs(self, condition: Condition | None = None) -> list[Pair]:
        """Pairs that may be believed, in the order they ran."""
        return [
            row
            for row in self.rows
            if isinstance(row, Pair)
            and not row.invalid
            and (condition is None or row.condition == condition)
        ]

    def failures(self) -> list[Failure]:
        """Cells that ended as ERROR or INVALID."""
        return [row for row in self.rows if isinstance(row, Failure)]

    def comparisons(self) -> list[Comparison]:
        """All comparisons that began."""
        return [row for row in self.rows if isinstance(row, Comparison)]

    def conditions(self) -> list[Condition]:
        """Each condition once, in the order they were first measured."""
        return list(dict.fromkeys(pair.condition for pair in self.pairs()))


def _ends_whole(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"


def _read(path: Path) -> Iterator[Row | None]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line:
            yield _row(line, f"{path}:{number}")


def _row(line: bytes, where: str) -> Row | None:
    """None for a line that a killed process left torn."""
    try:
        data = json.loads(line)
    except ValueError:
        return None
    try:
        row = _KINDS[data["kind"]].model_validate(data)
    except (KeyError, TypeError, ValidationError) as error:
        raise JournalError(f"{where} is no row of a verdict proof: {error}") from error
    if isinstance(row, Comparison) and row.schema_version > SCHEMA:
        raise JournalError(
            f"{where} has version {row.schema_version}, this program reads up to {SCHEMA}"
        )
    return row


def cells_of(pairs: Sequence[Pair]) -> list[str]:
    """Each cell once, by name."""
    return sorted({pair.cell for pair in pairs})
