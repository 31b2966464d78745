"""The quantities the report compares: where each is found in a cell, its unit and better side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import CellRecord, Estimate
from pytest_dllama.record.network import NetworkRecord
from pytest_dllama.report.text.numbers import decimals_for

_SHOWN_UNITS = {"1/s": "tokens/s", "-": "share"}  # what the catalogue's units are called in reports


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measured quantity; `key` is also its name in the word catalogues."""

    key: str
    unit: str  # "B" is scaled to KiB or MiB, "share" printed as percent
    decimals: int
    better: Literal["lower", "higher"]
    as_factor: bool  # "2.05 times as fast" rather than "51.2 % less"
    exact: bool = False  # counted, not timed: every difference is real
    find: Callable[[CellRecord], Estimate | None] = lambda cell: None

    def of(self, cell: CellRecord | None) -> Estimate | None:
        """The cell's value, or None if it has none."""
        if cell is None or cell.status != "ok":
            return None
        found = self.find(cell)
        if found is None or not math.isfinite(found.value):
            return None
        return found if found.value > 0 or not self.as_factor else None  # no speed is 0

    def shown_decimals(self, *values: float | None) -> int:
        """Decimals that suit every one of `values`."""
        known = [value for value in values if value is not None]
        return max((decimals_for(value, self.decimals) for value in known), default=self.decimals)


def _metric(name: str) -> Callable[[CellRecord], Estimate | None]:
    return lambda cell: cell.metrics.get(name)


def _network(
    value: Callable[[NetworkRecord], float | None], metric: str | None = None
) -> Callable[[CellRecord], Estimate | None]:
    """From the metrics if they have it, else the network record's own single figure."""

    def find(cell: CellRecord) -> Estimate | None:
        if metric is not None and metric in cell.metrics:
            return cell.metrics[metric]
        found = value(cell.network) if cell.network is not None else None
        return None if found is None else Estimate(value=found, minimum=found, maximum=found, n=1)

    return find


def _of_metric(
    name: str,
    decimals: int,
    *,
    as_factor: bool,
    key: str | None = None,
    find: Callable[[CellRecord], Estimate | None] | None = None,
) -> Quantity:
    """A metric of the catalogue: unit, better side and exactness are the catalogue's."""
    metric = METRICS[name]
    return Quantity(
        key or name,
        _SHOWN_UNITS.get(metric.unit, metric.unit),
        decimals,
        "higher" if metric.better == "higher" else "lower",
        as_factor,
        exact=metric.better == "exact",
        find=find or _metric(name),
    )


TOKENS_PER_S = _of_metric("tokens_per_s", 2, as_factor=True)
TPOT = _of_metric("tpot_ms", 2, as_factor=True)
TTFT = _of_metric("ttft_s", 3, as_factor=True)
RCT = _of_metric("rct_s", 3, as_factor=True)
SPEED = (TOKENS_PER_S, TPOT, TTFT, RCT)
STEADY_TPOT = _of_metric("steady_tpot_ms", 2, as_factor=True)  # judged in pairs, in no table

ROOT_MEMORY = _of_metric("root_peak_rss_bytes", 1, as_factor=False, key="root_memory")
WORKER_MEMORY = _of_metric("worker_peak_rss_bytes", 1, as_factor=False, key="worker_memory")
MEMORY = (ROOT_MEMORY, WORKER_MEMORY)

TOTAL_BYTES = Quantity(
    "total_bytes",
    "B",
    2,
    "lower",
    as_factor=False,
    exact=True,
    find=_network(lambda network: network.total_bytes),
)
BYTES_PER_TOKEN = _of_metric(
    "bytes_per_token",
    2,
    as_factor=False,
    find=_network(lambda network: network.bytes_per_token, "bytes_per_token"),
)
LATENCY = Quantity(
    "avg_ms", "ms", 2, "lower", as_factor=False, find=_network(lambda network: network.avg_ms)
)
BANDWIDTH = _of_metric(
    "bandwidth_mbps",
    2,
    as_factor=True,
    find=_network(lambda network: network.bandwidth_mbps, "bandwidth_mbps"),
)
SYNC_SHARE = _of_metric(
    "sync_share",
    1,
    as_factor=False,
    find=_network(lambda network: network.sync_share, "sync_share"),
)
NETWORK = (TOTAL_BYTES, BYTES_PER_TOKEN, LATENCY, BANDWIDTH, SYNC_SHARE)
