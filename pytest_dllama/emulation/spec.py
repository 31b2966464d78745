"""One link in words: a preset, or what distinguishes a link, or a preset with some of it changed.

1gbe    1gbe,latency=0.3ms    latency=0.2ms,jitter=0.05ms,rate=940mbit,loss-stall=0.01%:200ms
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

_TIMES_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}
_RATES_BPS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_LONGEST_NS = 10_000_000_000
_LEAST_BPS, _MOST_BPS = 1e4, 1e11
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)")
DEFAULT_SEED = 1


class LinkError(ValueError):
    """A link that cannot be; the message says what, the value found, the limit and the remedy."""


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One direction of a link between two nodes."""

    latency_ns: int = 0  # one-way, of a message without its bytes' time
    jitter_ns: int = 0  # uniform in plus or minus this around it
    rate_bps: float | None = None  # payload, of a node's port too; None: no limit
    loss: float = 0.0  # share of packets
    stall_ns: int = 0  # what a lost one costs the stream
    switch_bps: float | None = None  # all links of the cluster together; None: no limit
    seed: int = DEFAULT_SEED
    nodes_per_core: float | None = None  # up to which the preset is certified; None: not stated

    @property
    def in_words(self) -> str:
        """All of it, as it could be written.

        >>> parse_link("1gbe").in_words
        'latency=0.1ms,jitter=0.01ms,rate=940mbit'
        """
        parts = [f"latency={self.latency_ns / 1e6:g}ms"]
        if self.jitter_ns:
            parts.append(f"jitter={self.jitter_ns / 1e6:g}ms")
        if self.rate_bps:
            parts.append(f"rate={self.rate_bps / 1e6:g}mbit")
        if self.loss:
            parts.append(f"loss-stall={self.loss * 100:g}%:{self.stall_ns / 1e6:g}ms")
        if self.switch_bps:
            parts.append(f"switch={self.switch_bps / 1e6:g}mbit")
        if self.seed != DEFAULT_SEED:
            parts.append(f"seed={self.seed}")
        return ",".join(parts)


# Typical ones, to begin with; whoever has the real link measures it (`ping`, `iperf3`) and says so.
# Ethernet: what is left for TCP's payload of 1000 and 100 Mbit/s (1448 of 1538 bytes a packet), and
# half the round trip of small boards on one switch. Wi-Fi: stations share the air, so what a
# pair can have alone is what all have together. tailscale: two homes on fibre, in user space.
PRESETS: Mapping[str, LinkSpec] = MappingProxyType(
    {
        "1gbe": LinkSpec(100_000, 10_000, 940e6, nodes_per_core=1),
        "100mbe": LinkSpec(200_000, 20_000, 94e6, nodes_per_core=1),
        "wifi5": LinkSpec(1_500_000, 500_000, 200e6, 1e-4, 30_000_000, 200e6, nodes_per_core=2),
        "wifi4": LinkSpec(2_500_000, 1_000_000, 40e6, 3e-4, 50_000_000, 40e6, nodes_per_core=4),
        "tailscale": LinkSpec(12_000_000, 1_000_000, 90e6, 1e-4, 200_000_000, nodes_per_core=4),
    }
)


def parse_link(text: str) -> LinkSpec:
    """Read a link.

    >>> parse_link("latency=0.2ms,rate=940mbit").latency_ns
    200000

    Raises:
        LinkError: a preset or a name that is unknown, with the nearest right one, or a value that
            cannot be.
    """
    found, seen = LinkSpec(), set[str]()
    for n, part in enumerate(part.strip() for part in text.split(",")):
        name, is_given, value = (word.strip().lower() for word in part.partition("="))
        if not is_given:
            if n > 0 or name not in PRESETS:
                raise LinkError(f"{text!r}: {_unknown(name, n)}")
            found = PRESETS[name]
            continue
        if name not in _FIELDS:
            raise LinkError(f"{text!r}: there is no {name!r}; {_nearest(name, _FIELDS)}")
        if name in seen:
            raise LinkError(f"{text!r}: {name} is given twice; leave one out")
        seen.add(name)
        found = replace(found, **_FIELDS[name](f"{text!r}: {name}={value}", value))
    if found.jitter_ns > found.latency_ns:
        raise LinkError(
            f"{text!r}: jitter {found.jitter_ns / 1e6:g}ms is more than the latency of "
            f"{found.latency_ns / 1e6:g}ms around which it is; a message cannot come before it left"
        )
    return replace(found, nodes_per_core=None) if seen else found


def _unknown(name: str, n: int) -> str:
    if n > 0 and name in PRESETS:
        return f"the preset {name} comes first, what changes it behind"
    if name in _FIELDS:
        return f"{name} needs a value, as in {name}={_EXAMPLES[name]}"
    return f"there is no preset {name!r}; {_nearest(name, (*PRESETS, *_FIELDS))}"


def _nearest(name: str, names: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"


def _quantity(what: str, value: str, units: Mapping[str, float], example: str) -> float:
    match = _NUMBER.fullmatch(value)
    if match is None or match[2].lower() not in units:
        raise LinkError(f"{what}: write a number with its unit ({', '.join(units)}), as {example}")
    return float(match[1]) * units[match[2].lower()]


def time_ns(what: str, value: str) -> int:
    """`0.2ms` in ns; raises LinkError that begins with `what`."""
    ns = _quantity(what, value, _TIMES_NS, "0.2ms")
    if ns > _LONGEST_NS:
        raise LinkError(f"{what}: the longest is {_LONGEST_NS / 1e9:g}s")
    return round(ns)


def rate_bps(what: str, value: str) -> float:
    """`940mbit` in bits a second; raises LinkError that begins with `what`."""
    bps = _quantity(what, value, _RATES_BPS, "940mbit")
    if not _LEAST_BPS <= bps <= _MOST_BPS:
        raise LinkError(f"{what}: rates are from 10kbit to 100gbit")
    return bps


def _loss_stall(what: str, value: str) -> dict[str, Any]:
    share, colon, stall = value.partition(":")
    try:
        percent = float(share.removesuffix("%")) if share.endswith("%") and colon else math.nan
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 50:
        raise LinkError(
            f"{what}: write the share of packets that are lost, up to 50%, and what each costs the "
            f"stream, as {_EXAMPLES['loss-stall']}"
        )
    return {"loss": percent / 100, "stall_ns": time_ns(what, stall)}


def _seed(what: str, value: str) -> dict[str, Any]:
    if not value.isdecimal() or len(value) > 10 or int(value) >= 1 << 31:
        raise LinkError(f"{what}: a seed is a whole number from 0 to {(1 << 31) - 1}")
    return {"seed": int(value)}


_FIELDS: Mapping[str, Callable[[str, str], dict[str, Any]]] = {
    "latency": lambda what, value: {"latency_ns": time_ns(what, value)},
    "jitter": lambda what, value: {"jitter_ns": time_ns(what, value)},
    "rate": lambda what, value: {"rate_bps": rate_bps(what, value)},
    "loss-stall": _loss_stall,
    "switch": lambda what, value: {"switch_bps": rate_bps(what, value)},
    "seed": _seed,
}
_EXAMPLES = {
    "latency": "0.2ms", "jitter": "0.05ms", "rate": "940mbit", "loss-stall": "0.01%:200ms",
    "switch": "2gbit", "seed": "7",
}  # fmt: skip
