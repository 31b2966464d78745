"""Statements about energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class LeastEnergy(Sentence):
    """The node count that needs least for a token, where the repeats' ranges are apart."""

    model: str
    nodes: int
    j_per_token: float
    other: int  # the node count with the most
    factor: float  # how much more that one needs


@dataclass(frozen=True, slots=True)
class PowerRead(Sentence):
    """What told the power of a machine, and what it takes idle."""

    hosts: tuple[str, ...]
    source: Literal["pmic", "rapl", "meter"]
    detail: str
    idle_w: float | None
    idle_s: float | None


@dataclass(frozen=True, slots=True)
class PowerUnread(Sentence):
    """A machine whose power nobody knows."""

    hosts: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class EnergyUnknownIn(Sentence):
    """A cell without energy although its machines are read."""

    model: str
    nodes: int
    why: str


@dataclass(frozen=True, slots=True)
class RailsLeaveOut(Sentence):
    """What the rails of a Raspberry Pi 5 do not see."""


@dataclass(frozen=True, slots=True)
class CountersLeaveOut(Sentence):
    """What RAPL does not see."""
