"""The quantities the report compares: where each is found in a cell, its unit and better side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pytest_dllama.record.cell import CellRecord, Estimate
from pytest_dllama.record.network import NetworkRecord
from pytest_dllama.report.text.numbers import decimals_for


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


TOKENS_PER_S = Quantity(
    "tokens_per_s", "tokens/s", 2, "higher", as_factor=True, find=_metric("tokens_per_s")
)
TPOT = Quantity("tpot_ms", "ms", 2, "lower", as_factor=True, find=_metric("tpot_ms"))
TTFT = Quantity("ttft_s", "s", 3, "lower", as_factor=True, find=_metric("ttft_s"))
RCT = Quantity("rct_s", "s", 3, "lower", as_factor=True, find=_metric("rct_s"))
SPEED = (TOKENS_PER_S, TPOT, TTFT, RCT)

ROOT_MEMORY = Quantity(
    "root_memory", "B", 1, "lower", as_factor=False, find=_metric("root_peak_rss_bytes")
)
WORKER_MEMORY = Quantity(
    "worker_memory", "B", 1, "lower", as_factor=False, find=_metric("worker_peak_rss_bytes")
)
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
BYTES_PER_TOKEN = Quantity(
    "bytes_per_token",
    "B",
    2,
    "lower",
    as_factor=False,
    exact=True,
    find=_network(lambda network: network.bytes_per_token, "bytes_per_token"),
)
LATENCY = Quantity(
    "avg_ms", "ms", 2, "lower", as_factor=False, find=_network(lambda network: network.avg_ms)
)
BANDWIDTH = Quantity(
    "bandwidth_mbps",
    "Mbit/s",
    2,
    "higher",
    as_factor=True,
    find=_network(lambda network: network.bandwidth_mbps, "bandwidth_mbps"),
)
SYNC_SHARE = Quantity(
    "sync_share",
    "share",
    1,
    "lower",
    as_factor=False,
    find=_network(lambda network: network.sync_share, "sync_share"),
)
NETWORK = (TOTAL_BYTES, BYTES_PER_TOKEN, LATENCY, BANDWIDTH, SYNC_SHARE)
