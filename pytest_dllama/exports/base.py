"""What every export shares: the metrics in SI base units, and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_dllama.errors import ToldError
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import CellRecord

# Names that are not the catalogue's without its unit.
_NAMES = {
    "j_per_token": "token_energy",
    "request_j": "request_energy",
    "tokens_per_s_per_w": "tokens_per_joule",
}
_TO_SI = {"ms": ("s", 1e-3), "Mbit/s": ("bit/s", 1e6)}


class ExportError(ToldError, ValueError):
    """An export that cannot be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SiMetric:
    """A metric of a cell in SI units."""

    name: str  # without its unit
    unit: str  # s, 1/s, B, bit/s, J, 1/J; "-" for a share
    value: float  # the median
    definition: str  # without the unit that the catalogue ends it with


def si_metrics(cell: CellRecord) -> Iterator[SiMetric]:
    """Each metric that a cell has."""
    for name, estimate in cell.metrics.items():
        metric = METRICS.get(name)
        if metric is None:
            continue
        unit, factor = _TO_SI.get(metric.unit, (metric.unit, 1.0))
        stem = name
        for suffix in ("_ms", "_s", "_bytes", "_mbps"):
            if not name.endswith("per_s"):
                stem = stem.removesuffix(suffix)
        definition = metric.definition.removesuffix(f", {metric.unit}")
        yield SiMetric(_NAMES.get(name, stem), unit, estimate.value * factor, definition)
