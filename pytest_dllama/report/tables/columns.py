"""Tables as data: columns by key, entries by kind, figures in the unit of their column.

The word catalogues name the columns; nothing here depends on a language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.report.figures.quantities import Quantity
from pytest_dllama.report.text.numbers import (
    MISSING,
    byte_unit,
    decimals_for,
    in_byte_unit,
    number,
    plain,
    share,
    size,
)

NOT_COUNTED = "†"  # measured, but the output is wrong or the cell invalid
WITHIN_SPREAD = "≈"  # the ranges of the repeats overlap
RETRIED = "↻"  # measured anew after a rank was lost
BEST = "★"  # the node count to choose for this model


@dataclass(frozen=True, slots=True)
class Column:
    """`key` names the header in the catalogues; `model` is put in front of the unit."""

    key: str
    model: str = ""
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Nodes:
    """A node count."""

    n: int


@dataclass(frozen=True, slots=True)
class NodeStep:
    """From one node count to another."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Word:
    """A term of the catalogue: `group.key`."""

    group: str
    key: str


@dataclass(frozen=True, slots=True)
class Code:
    """A name printed as code."""

    text: str


@dataclass(frozen=True, slots=True)
class Flags:
    """Throttling flags of a board's firmware; none is worth a word too."""

    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric's definition in the run's own words; a translation must be of these."""

    metric: str
    text: str


@dataclass(frozen=True, slots=True)
class Starred:
    """What is the best of its kind."""

    entry: Nodes | str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A small picture by its name; where there is none, or none can be, its line of text."""

    name: str
    line: str  # bars of Unicode
    first: str  # value at the beginning
    last: str
    nights: int
    alarms: int


Entry = str | Nodes | NodeStep | Word | Code | Flags | Definition | Starred | Drawn


@dataclass(frozen=True, slots=True)
class Table:
    """Header and rows, and which marks the figures bear."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]

    @property
    def marks(self) -> tuple[str, ...]:
        """Marks that need a legend."""
        text = "".join(cell for row in self.rows for cell in row[1:] if isinstance(cell, str))
        marks = [mark for mark in (NOT_COUNTED, RETRIED, WITHIN_SPREAD) if f" {mark}" in text]
        is_best = any(isinstance(cell, Starred) for row in self.rows for cell in row)
        return (*marks, *([BEST] if is_best else []))


def unit_of(quantity: Quantity, values: Sequence[float | None]) -> str:
    """The unit of a column of such values."""
    if quantity.unit == "B":
        return byte_unit(values)
    return "%" if quantity.unit == "share" else quantity.unit


def in_unit(quantity: Quantity, value: float | None, unit: str) -> float | None:
    """`value` in the unit of its column."""
    if quantity.unit == "B":
        return in_byte_unit(value, unit)
    if quantity.unit == "share":
        return None if value is None else value * 100
    return value


def shown(
    quantity: Quantity, value: float | None, unit: str, column: Sequence[float | None] = ()
) -> str:
    """`value` as a cell of a column in `unit`, with decimals that suit the whole column."""
    scaled = in_unit(quantity, value, unit)
    if quantity.unit == "B":
        return number(scaled, quantity.decimals)
    others = (in_unit(quantity, other, unit) for other in column)
    return plain(scaled, quantity.shown_decimals(scaled, *others))


def with_unit(value: float | None, quantity: Quantity) -> str:
    """A single value with its unit.

    >>> sync_share = Quantity("sync_share", "share", 1, "lower", as_factor=False)
    >>> with_unit(0.25, sync_share), with_unit(None, sync_share)
    ('25.0%', '-')
    """
    if quantity.unit == "B":
        return size(value)
    if quantity.unit == "share":
        return share(value)
    text = plain(value, quantity.shown_decimals(value))
    return text if text == MISSING else f"{text} {quantity.unit}"


def metric_value(metric: str, value: float | None) -> str:
    """A value of a metric with its unit.

    >>> metric_value("ttft_s", 0.5), metric_value("root_peak_rss_bytes", 1 << 30)
    ('0.500 s', '1,024 MiB')
    >>> metric_value("sync_share", 0.25), metric_value("made_up", 3.0)
    ('25.0%', '3.00')
    """
    if value is None:
        return MISSING
    known = METRICS.get(metric)
    unit = known.unit if known else ""
    if unit == "B":
        return size(value)
    if known and known.is_share:
        return f"{number(value * 100, 1)}%"
    text = plain(value, decimals_for(value, 3 if unit == "s" else 2))
    return f"{text} {'tokens/s' if unit == '1/s' else unit}" if unit else text
