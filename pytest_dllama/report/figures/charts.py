"""What a picture shows, as data: numbers in the units of its axes, no drawing.

The words inside a picture are English here; `plots.words` exchanges those of a drawn one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from pytest_dllama.record.cell import Estimate

MOST_PANELS = 8  # of a picture; those of further models are not drawn


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its range; without one, `low` and `high` are None."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Points in the order of x; `dense` ones are too many for a mark each."""

    name: str
    points: tuple[Point, ...]
    style: Literal["measured", "ideal", "limit", "dense"] = "measured"


@dataclass(frozen=True, slots=True)
class Lines:
    """Curves over one axis; `ticks` are the only x worth naming, if given."""

    kind: ClassVar[str] = "lines"
    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """A value for each label; None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """Bars made of parts, one on the other."""

    kind: ClassVar[str] = "stack"
    title: str
    labels: tuple[str, ...]
    parts: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars side by side, each with a line across it where `marks` has a value."""

    kind: ClassVar[str] = "bars"
    title: str
    labels: tuple[str, ...]
    groups: tuple[Series, ...]
    marks: tuple[Series, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """A change with its bounds, in percent; plus is worse."""

    label: str
    change: float
    low: float
    high: float
    status: str
    tolerance: float


@dataclass(frozen=True, slots=True)
class Forest:
    """Effects below each other, against what is tolerated."""

    kind: ClassVar[str] = "forest"
    title: str
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened at a night of a series, in words for who points at it."""

    x: float
    kind: Literal["commit", "anchor", "accepted", "cleared", "alarm", "regressed"]
    text: str


@dataclass(frozen=True, slots=True)
class Track:
    """A value a night, small enough for the cell of a table; x counts the nights from 0."""

    kind: ClassVar[str] = "track"
    points: tuple[Point, ...]
    hints: tuple[str, ...]  # one a point
    events: tuple[Event, ...]
    nights: int  # of the axis: series that lack some are drawn over the same nights


Panel = Lines | Stack | Bars | Forest | Track


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: its name is its file's, its panels share the axes' labels."""

    name: str
    x_label: str
    y_label: str
    panels: tuple[Panel, ...]


def point(x: float, value: Estimate | None, scale: float = 1.0) -> Point | None:
    """An estimate as a point, its range where there were repeats; None if it is no number."""
    if value is None or not math.isfinite(value.value * scale):
        return None
    ends = (value.minimum * scale, value.maximum * scale)
    if value.n < 2 or not all(map(math.isfinite, ends)):
        return Point(x, value.value * scale)
    return Point(x, value.value * scale, *ends)


def finite(value: float | None) -> float | None:
    """The value, or None for what no axis has a place for.

    >>> finite(float("nan")), finite(2)
    (None, 2.0)
    """
    return float(value) if value is not None and math.isfinite(value) else None
