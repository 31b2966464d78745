"""Hosts, the links between them and their memory, as the run file has them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pytest_dllama.record.base import Record

FindingKind = Literal[
    "bits", "memory", "shared_memory", "disk", "swap", "governor", "throttled", "hot", "load",
    "clock", "leftover", "duplex", "slow_link",
]  # fmt: skip


class NicRecord(Record):
    """A network interface of a host."""

    name: str
    speed_mbps: int | None
    duplex: str | None
    wireless: bool = False


class HostFinding(Record):
    """What is wrong with a host; `text` has the remedy, the rest is for other languages."""

    level: Literal["refusal", "warning"]
    kind: FindingKind
    text: str
    values: dict[str, str] = Field(default_factory=dict)


class HostWatch(Record):
    """What was seen of a host while its processes ran."""

    n_samples: int
    max_temperature_c: float | None
    min_mhz: float | None
    throttled: tuple[str, ...] | None  # flags that rose while it was watched; None: not told
    sample_ms: float  # what one look costs, the mean


class HostRecord(Record):
    """One machine of the run, as it was found before the first cell."""

    name: str
    rank: int
    address: str
    board: str | None
    kernel: str
    machine: str
    bits: int
    cores: int
    memory_bytes: int | None
    available_bytes: int | None
    needed_bytes: int | None = None  # of its shard; None: no model was known
    swap_bytes: int | None
    swap_used_bytes: int | None
    disk_free_bytes: int
    governor: str | None
    max_mhz: float | None
    mhz: float | None
    temperature_c: float | None
    throttled: tuple[str, ...] | None = ()  # the firmware's flags in words; None: not told
    load_1min: float
    clock_offset_ms: float | None  # its clock minus the controller's
    clock_error_ms: float | None = None  # how far the true offset may be from that
    nics: tuple[NicRecord, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    cpu_model: str | None = None
    shares_with: tuple[str, ...] = ()  # hosts that are one machine with it, itself among them
    findings: tuple[HostFinding, ...] = ()
    watch: HostWatch | None = None


class PairRecord(Record):
    """The link between two hosts that talk, before the first cell."""

    source: str
    target: str
    rtt_ms: float | None = None
    bandwidth_mbps: float | None = None
    error: str | None = None


class MemoryRecord(Record):
    """What the memory of one machine of the run delivers, as measured in the run."""

    hosts: tuple[str, ...]
    cores: int
    cache_bytes: int | None  # last level, all instances
    bytes_per_s: dict[int, float] = Field(default_factory=dict)  # by number of reading threads
    is_disturbed: bool = False  # other programs ran meanwhile: it may deliver more than measured
    why_not: str | None = None
