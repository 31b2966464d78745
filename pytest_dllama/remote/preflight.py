"""What a host's facts mean for a measurement: findings, each with its remedy.

A refusal is what no run can stand; a warning is what a reader of the figures must know. Knows
nothing of SSH.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

THROTTLED_BITS = {  # of `vcgencmd get_throttled`, Raspberry Pi documentation
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since boot",
    17: "frequency capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}
HOT_C = 75.0  # a Pi caps its frequency from 80 on
MAX_CLOCK_OFFSET_S = 1.0
MAX_LOAD_SHARE = 0.25  # of the cores
LOW_DISK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a host, and what to do."""

    level: Literal["refusal", "warning"]
    text: str


def decode_throttled(bits: int | None) -> tuple[str, ...]:
    """The words of `get_throttled`.

    >>> decode_throttled(0x50005)
    ('under-voltage now', 'throttled now', 'under-voltage since boot', 'throttled since boot')
    """
    return tuple(text for bit, text in THROTTLED_BITS.items() if (bits or 0) >> bit & 1)


def findings(
    facts: Mapping[str, Any], needed_bytes: int | None, clock_offset_s: float | None
) -> list[Finding]:
    """All that is to be said of one host; `needed_bytes` is its shard's."""
    return [
        *_machine(facts, needed_bytes),
        *_speed(facts),
        *_others(facts, clock_offset_s),
    ]


def _machine(facts: Mapping[str, Any], needed_bytes: int | None) -> Iterator[Finding]:
    if facts["bits"] != 64:
        yield Finding(
            "refusal",
            f"a {facts['bits']}-bit system ({facts['machine']}); numba needs 64 bits: install the "
            "64-bit Raspberry Pi OS",
        )
    available = facts["available_bytes"]
    if needed_bytes is not None and available is not None and needed_bytes > available:
        yield Finding(
            "refusal",
            f"its shard needs {_mb(needed_bytes)} and {_mb(available)} of memory are available; "
            "add hosts, stop other programs there, or take a smaller model",
        )
    if facts["disk_free_bytes"] < LOW_DISK_BYTES:
        yield Finding(
            "warning",
            f"{_mb(facts['disk_free_bytes'])} of disk are free, {_mb(LOW_DISK_BYTES)} are wise; "
            "make room or name another `folder`",
        )
    if facts["swap_used_bytes"]:
        yield Finding(
            "warning",
            f"{_mb(facts['swap_used_bytes'])} of swap are in use: figures of a swapping host mean "
            "nothing; stop other programs, then sudo swapoff -a",
        )


def _speed(facts: Mapping[str, Any]) -> Iterator[Finding]:
    governor = facts["governor"]
    if governor not in (None, "performance"):
        yield Finding(
            "warning",
            f"the governor is {governor!r}: clocks follow the load; for steady figures: echo "
            "performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
    if flags := decode_throttled(facts["throttled"]):
        yield Finding(
            "warning",
            f"its firmware reports {', '.join(flags)}; use the board's own power supply and a "
            "cooler, then restart it",
        )
    temperature = facts["temperature_c"]
    if temperature is not None and temperature > HOT_C:
        yield Finding(
            "warning",
            f"{temperature:.0f} °C: a Pi slows down from 80 °C on; cool it, or wait with "
            "--cooldown 60",
        )


def _others(facts: Mapping[str, Any], clock_offset_s: float | None) -> Iterator[Finding]:
    if facts["load_1min"] > MAX_LOAD_SHARE * facts["cores"]:
        yield Finding(
            "warning",
            f"other programs keep it busy (load {facts['load_1min']:.2f} on {facts['cores']} "
            "cores); stop them, see `top` there",
        )
    if clock_offset_s is not None and abs(clock_offset_s) > MAX_CLOCK_OFFSET_S:
        yield Finding(
            "warning",
            f"its clock is {clock_offset_s:+.1f} s off: times in logs will not fit; run there: "
            "sudo timedatectl set-ntp true",
        )
    for link in facts["links"]:
        if link["duplex"] == "half":
            yield Finding("warning", f"{link['name']} runs at half duplex; check cable and switch")
        if link["speed_mbps"] is not None and 0 < link["speed_mbps"] < 1000:
            yield Finding(
                "warning",
                f"{link['name']} runs at {link['speed_mbps']} Mbit/s; with a gigabit board check "
                "cable and switch",
            )


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f} MB"
