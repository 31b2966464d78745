"""Which link is between which nodes, what ports they share, and the file that says so.

link = "1gbe"                # of every pair that is not named below
switch = "2gbit"             # all links together; without it the switch is no limit
seed = 7

[ports]                      # a node's network port, in each direction; else the link's rate
3 = "94mbit"

[links]                      # 0 is the root
"0-3" = "100mbe"             # both directions
"2>1" = "latency=1ms,rate=50mbit"   # one
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_dllama.emulation.boards import Board, Boards
from pytest_dllama.emulation.spec import LinkError, LinkSpec, parse_link, rate_bps
from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text

Way = tuple[int, int]  # from node, to node
_WAY = re.compile(r"\s*(\d+)\s*([->])\s*(\d+)\s*")
_KEYS = ("link", "switch", "seed", "ports", "links")
_MOST_NODES = 64
_PS_PER_BIT = 1e12
DELAY_SHARE, DELAY_NS = 0.05, 20_000


@dataclass(frozen=True, slots=True)
class Topology:
    """The network of a cluster of any size."""

    text: str  # as it was asked for
    link: LinkSpec  # of every way that `ways` does not name
    ways: Mapping[Way, LinkSpec] = field(default_factory=dict)
    ports_bps: Mapping[int, float] = field(default_factory=dict)  # of nodes with one of their own
    switch_bps: float | None = None
    seed: int = 1
    board: Board | None = None  # that each node is; None: a process as fast as this machine

    def way(self, source: int, target: int) -> LinkSpec:
        """One direction between two nodes."""
        return self.ways.get((source, target), self.link)

    def port_bps(self, node: int) -> float | None:
        """What a node's port carries in each direction; None: no limit."""
        return self.ports_bps.get(node, self.link.rate_bps)

    def expected_bps(self, source: int, target: int) -> float | None:
        """What one way carries when nothing else is under way; None: no limit."""
        limits = (
            *(self.way(source, target).rate_bps, self.port_bps(source), self.port_bps(target)),
            self.switch_bps,
        )
        return min((limit for limit in limits if limit), default=None)

    def network_text(self, nodes: int) -> str:
        """For the relay: ports, switch and links of so many nodes, as JSON."""
        ports = [2 * [_ps(self.port_bps(node))] for node in range(nodes)]
        links = []
        for source in range(nodes):
            for target in range(nodes):
                if source != target:
                    w = self.way(source, target)
                    loss = round(w.loss * (1 << 31))
                    rest = [w.latency_ns, w.jitter_ns, _ps(w.rate_bps), loss, w.stall_ns]
                    links.append([source, target, *rest, allowed_ns(w.latency_ns)])
        found = {"seed": self.seed, "switch_ps": _ps(self.switch_bps)}
        return json.dumps({**found, "nodes": ports, "links": links})

    @property
    def described(self) -> str:
        """As asked for, and all of it in words; once where those are the same."""
        return self.text if self.text == self.in_words else f"{self.text}: {self.in_words}"

    @property
    def in_words(self) -> str:
        """All of it in one line, the same for the same network; part of the fingerprint."""
        parts = [self.link.in_words]
        parts += [f"{a}>{b}:{spec.in_words}" for (a, b), spec in sorted(self.ways.items())]
        parts += [f"port {n}:{bps / 1e6:g}mbit" for n, bps in sorted(self.ports_bps.items())]
        if self.switch_bps != self.link.switch_bps:
            parts.append(f"switch:{self.switch_bps}")
        if self.board is not None:
            parts.append(self.board.in_words)
        return "; ".join(parts)


def allowed_ns(latency_ns: int) -> int:
    """By how much the delay of a message may be off: 5 % and 20 us.

    >>> allowed_ns(200_000)
    30000
    """
    return round(DELAY_SHARE * latency_ns) + DELAY_NS


def _ps(bps: float | None) -> int:
    """Picoseconds a byte; 0: no limit."""
    return round(8 * _PS_PER_BIT / bps) if bps else 0


def uniform(text: str) -> Topology:
    """All links alike, as `--link` says; raises LinkError."""
    try:
        link = parse_link(text)
    except LinkError as error:
        raise LinkError(f"--link {error}") from None
    return Topology(text, link, switch_bps=link.switch_bps, seed=link.seed)


def of_boards(found: Boards) -> Topology:
    """The boards of `--emulate`, on links all alike."""
    return replace(uniform(found.link), text=found.text, board=found.board)


def load_topology(file: Path, default: str = "") -> Topology:
    """A file of links.

    Args:
        file: TOML, see above.
        default: `--link`, in place of the file's own `link`.

    Raises:
        LinkError: a file that cannot be read, or what it says.
    """
    try:
        data: dict[str, Any] = tomllib.loads(read_text(file, SETTINGS_BYTES))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LinkError(f"--links {file} cannot be read: {error}") from None
    for key in data:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)}"
            raise LinkError(f"--links {file}: there is no {key!r}; {meant}")
    text = default or data.get("link")
    if not isinstance(text, str):
        raise LinkError(f'--links {file}: link is missing; write link = "1gbe" for every pair')
    try:
        return _topology(f"{file.name} ({text})", text, data)
    except LinkError as error:
        raise LinkError(f"--links {file}: {error}") from None


def _topology(name: str, text: str, data: Mapping[str, Any]) -> Topology:
    link = parse_link(text)
    switch = data.get("switch")
    seed = data.get("seed", link.seed)
    if not isinstance(seed, int) or not 0 <= seed < 1 << 31:
        raise LinkError(f"seed = {seed!r} is no whole number from 0 to {(1 << 31) - 1}")
    ways: dict[Way, LinkSpec] = {}
    for key, value in _table(data, "links").items():
        spec = parse_link(_text(f"links.{key!r}", value))
        for way in _ways(key):
            if way in ways:
                raise LinkError(f"links: {way[0]}>{way[1]} is named twice; leave one out")
            ways[way] = spec
    ports = {
        _node(key): rate_bps(f"ports.{key} = {value}", _text(f"ports.{key}", value))
        for key, value in _table(data, "ports").items()
    }
    switch_bps = link.switch_bps
    if switch is not None:
        switch_bps = rate_bps(f"switch = {switch}", _text("switch", switch))
    return Topology(name, link, ways, ports, switch_bps, seed)


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, Mapping):
        raise LinkError(f"{name} is no table; write [{name}] and its lines below")
    return table


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise LinkError(f"{what} = {value!r} is no text; write it in quotes")
    return value


def _node(text: str) -> int:
    if not text.isdecimal() or len(text) > 10 or int(text) >= _MOST_NODES:
        raise LinkError(f"{text!r} is no node; nodes are 0 (the root) to {_MOST_NODES - 1}")
    return int(text)


def _ways(key: str) -> list[Way]:
    match = _WAY.fullmatch(key)
    if match is None or match[1] == match[3]:
        raise LinkError(
            f'links.{key!r} names no pair; write "0-3" for both directions or "0>3" for one'
        )
    a, b = _node(match[1]), _node(match[3])
    return [(a, b)] if match[2] == ">" else [(a, b), (b, a)]
