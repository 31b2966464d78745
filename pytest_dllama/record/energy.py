"""Energy of a run's cells, and the meters that told it, as the run file has them."""

from __future__ import annotations

from typing import Literal

from pytest_dllama.record.base import Record

# Rails of a Pi 5's power chip, counters of an x86 processor, or the file of a meter at the plug.
EnergySource = Literal["pmic", "rapl", "meter"]


class PowerRecord(Record):
    """What told the power of one machine of the run; no source: why not."""

    hosts: tuple[str, ...]  # names of this one machine
    source: EnergySource | None = None
    detail: str | None = None  # what was added up: rails, counters, a column
    period_s: float | None = None  # between two readings
    idle_w: float | None = None  # before the first process of the engine
    idle_s: float | None = None  # how long that was watched
    why_not: str | None = None


class MachineEnergy(Record):
    """What one machine took for a cell, medians over the repeats that have it."""

    hosts: tuple[str, ...]
    ranks: tuple[int, ...]
    request_j: float | None = None  # from the request's start to the last token
    j_per_token: float | None = None
    mean_w: float | None = None  # over the request
    why_not: str | None = None  # of the first repeat that has none


class EnergyRecord(Record):
    """What a cell took; None where one of its machines is not known."""

    machines: tuple[MachineEnergy, ...]
    mean_w: float | None = None  # of all machines together
    idle_w: float | None = None
    j_per_token_above_idle: float | None = None
    request_j_above_idle: float | None = None
