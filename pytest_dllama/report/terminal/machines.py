"""The machines of a run behind SSH, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.amounts import counted
from pytest_dllama.record.hosts import HostRecord, PairRecord
from pytest_dllama.report.rules.hosts import extremes, highest_c, kind_of, pair_name
from pytest_dllama.report.text.numbers import megahertz, short


def host_lines(hosts: Sequence[HostRecord], pairs: Sequence[PairRecord]) -> list[str]:
    """A line a host, a line for the links."""
    return [*map(_host_line, hosts), *_links_line(pairs)]


def _host_line(host: HostRecord) -> str:
    parts = [
        kind_of(host),
        counted(host.cores, "core"),
        f"Linux {host.kernel}",
    ]
    if host.governor:
        parts.append(f"governor {host.governor}")
    highest = highest_c(host)
    if highest is not None:
        before = f"{short(host.temperature_c)} to " if host.temperature_c is not None else ""
        parts.append(f"{before}{short(highest)} °C")
    if host.watch and host.watch.min_mhz is not None:
        parts.append(f"{megahertz(host.watch.min_mhz)} MHz or more")
    if host.watch and host.watch.throttled:
        parts.append(f"SLOWED DOWN during the run: {', '.join(host.watch.throttled)}")
    elif host.throttled:
        parts.append(f"before the run: {', '.join(host.throttled)}")
    return f"host {host.name}: {', '.join(parts)}"


def _links_line(pairs: Sequence[PairRecord]) -> list[str]:
    times = extremes(pairs, lambda pair: pair.rtt_ms)
    rates = extremes(pairs, lambda pair: pair.bandwidth_mbps)
    broken = [f"way {p.source} to {p.target}: {p.error}" for p in pairs if p.error]
    if times is None or rates is None:
        return broken
    (fastest, _), (slowest, far) = times
    (least, narrow), (most, _) = rates
    return [
        *broken,
        f"ways: round trip {fastest:.3f} to {slowest:.3f} ms ({pair_name(far)}), bandwidth "
        f"{least:.0f} ({pair_name(narrow)}) to {most:.0f} Mbit/s",
    ]
