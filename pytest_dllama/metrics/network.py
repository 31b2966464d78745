"""Traces of one cell -> the figures of the run record: samples, network, ranks, metrics.

Only arithmetic on events: nothing here judges, starts or prints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pytest_dllama.events.ranks import NetworkLink
from pytest_dllama.events.request import Step
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.metrics import definitions
from pytest_dllama.metrics.links import link_times, nic_traffic, tcp_links
from pytest_dllama.record.network import LinkStats, NetworkRecord, OpStats

HIGH_VARIANCE_RATIO = 2.0  # dllama's rule: P95 > 2 * P50


def sync_share(trace: RequestTrace) -> float | None:
    """Root's time in collectives over its step time, decode; None on one node or unknown."""
    if trace.done is not None and "sync_share" in trace.done.unknown:
        return None
    steps = [s for s in trace.decode_steps if s.sync_us is not None and s.links]
    return definitions.share(
        sum(s.sync_us or 0.0 for s in steps), sum((s.end_ns - s.start_ns) / 1e3 for s in steps)
    )


def bytes_per_token(trace: RequestTrace) -> float | None:
    """Payload of a decode step on the root's links, the mean of the decode steps; None alone."""
    steps = [s for s in trace.decode_steps if s.links]
    if not steps:
        return None
    return sum(link.payload_bytes for s in steps for link in s.links) / len(steps)


def root_bandwidth_mbps(trace: RequestTrace) -> float | None:
    """Bytes on the root's links over the time those links were busy."""
    links = [link for step in trace.steps for link in step.links]
    moved_bytes = sum(link.payload_bytes + link.framing_bytes for link in links)
    return definitions.bandwidth_mbps(moved_bytes, sum(link.busy_us or 0.0 for link in links))


def network_record(traces: Sequence[RequestTrace], median: RequestTrace) -> NetworkRecord | None:
    """The wire as the root saw it; None when the root had no peer."""
    counts = [link for step in median.steps for link in step.links]
    if not counts or not (median.network or any(s.sync_durations_us for s in median.steps)):
        return None  # no peer, or nothing that tells how many operations there were
    links = tuple(_link_stats(link) for link in (median.network.links if median.network else ()))
    return NetworkRecord(
        **_latencies(median),
        total_bytes=sum(link.payload_bytes + link.framing_bytes for link in counts),
        payload_bytes=sum(link.payload_bytes for link in counts),
        framing_bytes=sum(link.framing_bytes for link in counts),
        expected_payload_bytes=_expected_payload_bytes(median),
        bytes_per_token=bytes_per_token(median),
        sync_share=sync_share(median),
        bandwidth_mbps=root_bandwidth_mbps(median),
        slowest_peer=max(links, key=lambda link: link.avg_ms).peer if links else None,
        high_variance_peers=tuple(link.peer for link in links if _varies(link)),
        links=links,
        ops=_op_stats(traces),
        times=link_times(traces),
        tcp=tcp_links(traces),
        nics=nic_traffic(traces),
    )


def _latencies(trace: RequestTrace) -> dict[str, Any]:
    """Operations and their durations: of every single one, else the engine's own sums."""
    durations_ms = [us / 1e3 for step in trace.steps for us in _durations_us(step)]
    if durations_ms:
        return {
            "operations": len(durations_ms),
            "avg_ms": sum(durations_ms) / len(durations_ms),
            "max_ms": max(durations_ms),
            "min_ms": min(durations_ms),
            "p50_ms": definitions.percentile(durations_ms, 50),
            "p95_ms": definitions.percentile(durations_ms, 95),
            "p99_ms": definitions.percentile(durations_ms, 99),
        }
    total = trace.network.total if trace.network else None
    names = ("avg", "max", "min", "p50", "p95", "p99")
    values = {f"{name}_ms": _ms(getattr(total, f"{name}_us", None)) for name in names}
    return {"operations": total.operations if total else 0, **values}


def _ms(value_us: float | None) -> float | None:
    return None if value_us is None else value_us / 1e3


def _durations_us(step: Step) -> list[float]:
    return [us for durations in step.sync_durations_us.values() for us in durations]


def _expected_payload_bytes(trace: RequestTrace) -> int | None:
    """The closed form summed over the request; None if the engine gives none for some step."""
    expected = [step.expected_payload_bytes for step in trace.steps]
    if any(value is None for value in expected):
        return None
    return sum(value or 0 for value in expected)


def _link_stats(link: NetworkLink) -> LinkStats:
    def if_enough(value_us: float, percent: int) -> float | None:
        return (
            value_us / 1e3
            if link.operations >= definitions.PERCENTILE_MIN_SAMPLES[percent]
            else None
        )

    return LinkStats(
        peer=link.peer,
        operations=link.operations,
        sent_bytes=link.sent_bytes,
        recv_bytes=link.recv_bytes,
        avg_ms=link.avg_us / 1e3,
        max_ms=link.max_us / 1e3,
        min_ms=link.min_us / 1e3,
        p50_ms=link.p50_us / 1e3,
        p95_ms=if_enough(link.p95_us, 95),
        p99_ms=if_enough(link.p99_us, 99),
        bandwidth_mbps=link.bandwidth_mbps,
    )


def _varies(link: LinkStats) -> bool:
    return link.p95_ms is not None and link.p95_ms > HIGH_VARIANCE_RATIO * link.p50_ms


def _op_stats(traces: Sequence[RequestTrace]) -> tuple[OpStats, ...]:
    """Every duration of each kind of collective, over all repeats; else the engine's averages."""
    durations_ms: defaultdict[str, list[float]] = defaultdict(list)
    moved_bytes: defaultdict[str, int] = defaultdict(int)
    for trace in traces:
        for step in trace.steps:
            for op, durations_us in step.sync_durations_us.items():
                durations_ms[op] += [us / 1e3 for us in durations_us]
        for op, op_bytes in _op_bytes(trace).items():
            moved_bytes[op] += op_bytes
    if not durations_ms:
        return _op_averages(traces[-1])
    return tuple(_one_op(op, moved_bytes[op], ms) for op, ms in durations_ms.items() if ms)


def _op_averages(trace: RequestTrace) -> tuple[OpStats, ...]:
    return tuple(
        OpStats(
            op=op.op,
            operations=op.operations,
            bytes=op.bytes,
            avg_ms=op.avg_us / 1e3,
            p50_ms=None,
            p95_ms=None,
            p99_ms=None,
            max_ms=None,
        )
        for op in (trace.network.ops if trace.network else ())
        if op.avg_us is not None
    )


def _op_bytes(trace: RequestTrace) -> dict[str, int]:
    return {op.op: op.bytes for op in trace.network.ops} if trace.network else {}


def _one_op(op: str, moved_bytes: int, values_ms: list[float]) -> OpStats:
    return OpStats(
        op=op,
        operations=len(values_ms),
        bytes=moved_bytes,
        avg_ms=sum(values_ms) / len(values_ms),
        p50_ms=definitions.nearest_rank(values_ms, 50),
        p95_ms=definitions.percentile(values_ms, 95),
        p99_ms=definitions.percentile(values_ms, 99),
        max_ms=max(values_ms),
    )
