"""What a host's facts mean for a measurement: findings, each with its remedy.

A refusal is what no run can stand; a warning is what a reader of the figures must know. Knows
nothing of SSH.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_dllama.hosts.fleet.clock import ClockOffset
from pytest_dllama.record.hosts import FindingKind

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
    """What is wrong with a host, and what to do.

    `kind` and `values` say the same as `text`, for reports in other languages.
    """

    level: Literal["refusal", "warning"]
    kind: FindingKind
    text: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that the model will take of a host; of all that share its machine, if some do."""

    own_bytes: int
    machine_bytes: int
    sharing: tuple[str, ...] = ()  # hosts that are one machine with it, itself among them
    sides: int = 1  # engines that are compared there, all of them in memory


def decode_throttled(bits: int | None) -> tuple[str, ...] | None:
    """The words of `get_throttled`; None where it does not tell.

    >>> decode_throttled(0x50005)
    ('under-voltage now', 'throttled now', 'under-voltage since boot', 'throttled since boot')
    """
    if bits is None:
        return None
    return tuple(text for bit, text in THROTTLED_BITS.items() if bits >> bit & 1)


def findings(
    facts: Mapping[str, Any],
    need: Need | None,
    clock: ClockOffset | None,
    leftovers: Sequence[str] = (),
) -> list[Finding]:
    """All that is to be said of one host; `leftovers` run there since an earlier session."""
    return [
        *_machine(facts, need),
        *_speed(facts),
        *_others(facts, clock, leftovers),
    ]


def _machine(facts: Mapping[str, Any], need: Need | None) -> Iterator[Finding]:
    if facts["bits"] != 64:
        values = {"bits": str(facts["bits"]), "machine": facts["machine"]}
        text = (
            f"a {facts['bits']}-bit system ({facts['machine']}); numba needs 64 bits: install the "
            "64-bit Raspberry Pi OS"
        )
        yield Finding("refusal", "bits", text, values)
    yield from _memory(facts["available_bytes"], need)
    if facts["disk_free_bytes"] < LOW_DISK_BYTES:
        values = {"free": _mb(facts["disk_free_bytes"]), "limit": _mb(LOW_DISK_BYTES)}
        text = (
            f"{values['free']} of disk are free, {values['limit']} are wise; make room or name "
            "another `folder`"
        )
        yield Finding("warning", "disk", text, values)
    if facts["swap_used_bytes"]:
        values = {"used": _mb(facts["swap_used_bytes"])}
        text = (
            f"{values['used']} of swap are in use: figures of a swapping host mean nothing; stop "
            "other programs, then sudo swapoff -a"
        )
        yield Finding("warning", "swap", text, values)


def _memory(available: int | None, need: Need | None) -> Iterator[Finding]:
    """Ranks that share a machine share its memory."""
    if need is None or available is None or need.machine_bytes <= available:
        return
    values = {"needed": _mb(need.machine_bytes), "available": _mb(available)}
    remedy = "add hosts, stop other programs there, or take a smaller model"
    both = " of both versions" if need.sides > 1 else ""
    have = f"{values['available']} of memory are available; {remedy}"
    if need.sharing:
        names = ", ".join(need.sharing)
        shards = f"their shards{both} together need {values['needed']}"
        text = f"{names} are one machine: {shards} and {have}"
        yield Finding("refusal", "shared_memory", text, values | {"names": names})
    else:
        shard = "its shards of both versions need" if both else "its shard needs"
        yield Finding("refusal", "memory", f"{shard} {values['needed']} and {have}", values)


def _speed(facts: Mapping[str, Any]) -> Iterator[Finding]:
    governor = facts["governor"]
    if governor not in (None, "performance"):
        text = (
            f"the governor is {governor!r}: clocks follow the load; for steady figures: echo "
            "performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )
        yield Finding("warning", "governor", text, {"governor": governor})
    if flags := decode_throttled(facts["throttled"]):
        text = (
            f"its firmware reports {', '.join(flags)}; use the board's own power supply and a "
            "cooler, then restart it"
        )
        yield Finding("warning", "throttled", text, {"flags": ", ".join(flags)})
    temperature = facts["temperature_c"]
    if temperature is not None and temperature > HOT_C:
        values = {"temperature": f"{temperature:.0f}"}
        text = (
            f"{temperature:.0f} °C: a Pi slows down from 80 °C on; cool it, or wait with "
            "--cooldown 60"
        )
        yield Finding("warning", "hot", text, values)


def _others(
    facts: Mapping[str, Any], clock: ClockOffset | None, leftovers: Sequence[str]
) -> Iterator[Finding]:
    if facts["load_1min"] > MAX_LOAD_SHARE * facts["cores"]:
        values = {"load": f"{facts['load_1min']:.2f}", "cores": str(facts["cores"])}
        text = (
            f"other programs keep it busy (load {values['load']} on {values['cores']} cores); stop "
            "them, see `top` there"
        )
        yield Finding("warning", "load", text, values)
    if clock is not None and abs(clock.offset_s) - clock.error_s > MAX_CLOCK_OFFSET_S:
        values = {"offset": f"{clock.offset_s:+.1f}"}
        text = (
            f"its clock is {values['offset']} s off: times in logs will not fit; run there: sudo "
            "timedatectl set-ntp true"
        )
        yield Finding("warning", "clock", text, values)
    for link in facts["links"]:
        yield from _link(link)
    for place in leftovers:
        text = (
            f"{place} of an earlier session runs there and takes its share; pytest-dllama hosts "
            "clean ends it"
        )
        yield Finding("warning", "leftover", text, {"place": place})


def _link(link: Mapping[str, Any]) -> Iterator[Finding]:
    name, speed = link["name"], link["speed_mbps"]
    if link["duplex"] == "half":
        text = f"{name} runs at half duplex; check cable and switch"
        yield Finding("warning", "duplex", text, {"link": name})
    if speed is not None and 0 < speed < 1000:
        text = f"{name} runs at {speed} Mbit/s; with a gigabit board check cable and switch"
        yield Finding("warning", "slow_link", text, {"link": name, "speed": str(speed)})


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f} MB"
