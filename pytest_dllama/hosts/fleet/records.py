"""What was found out about hosts, as the run file keeps it."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

from pytest_dllama.hosts.fleet.preflight import Need, decode_throttled, findings
from pytest_dllama.hosts.fleet.provision import Ready
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.record.hosts import HostFinding, HostRecord, HostWatch, NicRecord

SAME = (  # in facts and in the record
    *("board", "kernel", "machine", "bits", "cores", "memory_bytes", "available_bytes"),
    *("swap_bytes", "swap_used_bytes", "disk_free_bytes", "governor", "max_mhz", "mhz"),
    *("temperature_c", "load_1min", "cpu_model"),
)
VERSIONS = ("python", "numpy", "numba", "pytest-dllama")
STICKY_BITS = 0xF0000  # of `get_throttled`: since boot


def host_record(host: SshHost, rank: int, ready: Ready, need: Need | None) -> HostRecord:
    """A host before the first cell."""
    facts = ready.facts
    found = findings(facts, need, ready.clock, ready.leftovers)
    return HostRecord(
        name=host.name,
        rank=rank,
        address=host.address,
        **{name: facts[name] for name in SAME},
        needed_bytes=need.own_bytes if need else None,
        throttled=decode_throttled(facts["throttled"]),
        clock_offset_ms=ready.clock.offset_s * 1e3,
        clock_error_ms=ready.clock.error_s * 1e3,
        nics=tuple(NicRecord(**link) for link in facts["links"]),
        findings=tuple(
            HostFinding(level=one.level, kind=one.kind, text=one.text, values=dict(one.values))
            for one in found
        ),
    )


def versions_of(ready: Ready) -> dict[str, str]:
    """What its environment holds, once it was made."""
    return {name: str(ready.versions[name]) for name in VERSIONS if name in ready.versions}


def watched(samples: Sequence[dict[str, Any]], before: int | None) -> HostWatch | None:
    """Samples of a host's processes together; `before` are its flags before the first cell."""
    if not samples:
        return None
    temperatures = [s["temperature_c"] for s in samples if s["temperature_c"] is not None]
    clocks = [s["mhz"] for s in samples if s["mhz"] is not None]
    known = [s["throttled"] for s in samples if s["throttled"] is not None]
    flags = functools.reduce(operator.or_, known, 0)
    new = (flags & ~STICKY_BITS) | (flags & STICKY_BITS & ~(before or 0))
    return HostWatch(
        n_samples=len(samples),
        max_temperature_c=max(temperatures, default=None),
        min_mhz=min(clocks, default=None),
        throttled=decode_throttled(new) if known else None,
        sample_ms=sum(s["sample_ms"] for s in samples) / len(samples),
    )
