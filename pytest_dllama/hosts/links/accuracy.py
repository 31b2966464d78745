"""From the samples of probes to what a cell's record says of its links; arithmetic only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pytest_dllama.emulation.topology import Topology, Way
from pytest_dllama.hosts.links.prober import PROBE_BYTES, ProbeSamples
from pytest_dllama.record.emulation import CellLinks, LinkAccuracy
from pytest_dllama.validity.links import allowed_us

LEAST_BUSY = 5  # probes while requests ran, to be judged by


def set_us(topology: Topology, way: Way) -> float:
    """What a probe should take: the latency, and its own bytes at the rate."""
    bps = topology.expected_bps(*way)
    bytes_us = 8e6 * PROBE_BYTES / bps if bps else 0.0
    return topology.way(*way).latency_ns / 1e3 + bytes_us


def cell_links(topology: Topology, nodes: int, samples: Sequence[ProbeSamples]) -> CellLinks | None:
    """How well the links of a cell were kept, over all its requests; None without a probe."""
    ways = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    links = tuple(
        _of_way(topology, way, samples) for way in ways if any(s.calm_ns.get(way) for s in samples)
    )
    if not links:
        return None
    busy = [(way, ns / 1e3) for s in samples for way, ns in s.busy_ns]
    n_messages, n_late = sum(s.messages for s in samples), sum(s.late for s in samples)
    if len(busy) < LEAST_BUSY:
        return CellLinks(links=links, n_busy=len(busy), n_messages=n_messages, n_late=n_late)
    errors = sorted(us - set_us(topology, way) for way, us in busy)
    return CellLinks(
        links=links,
        n_busy=len(busy),
        busy_median_error_us=statistics.median(errors),
        busy_p99_error_us=_rank(errors, 0.99),
        n_messages=n_messages,
        n_late=n_late,
        busy_limit_us=min(allowed_us(set_us(topology, way)) for way, _ in busy),
    )


def _of_way(topology: Topology, way: Way, samples: Sequence[ProbeSamples]) -> LinkAccuracy:
    took = sorted(ns / 1e3 for s in samples for ns in s.calm_ns.get(way, ()))
    rates = [bps for s in samples for bps in s.rates_bps.get(way, ())]
    expected_bps = topology.expected_bps(*way)
    return LinkAccuracy(
        source=way[0],
        target=way[1],
        set_us=set_us(topology, way),
        n=len(took),
        median_us=statistics.median(took),
        p99_us=_rank(took, 0.99),
        set_mbps=expected_bps / 1e6 if expected_bps else None,
        mbps=statistics.median(rates) / 1e6 if rates else None,
    )


def _rank(values: Sequence[float], share: float) -> float:
    """A percentile by nearest rank of sorted values."""
    return values[max(0, math.ceil(share * len(values)) - 1)]
