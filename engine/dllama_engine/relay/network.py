"""The network that a relay stands for, as its file says, and the tables for compiled code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.errors import RequestError
from dllama_engine.tables.relay import (
    ALLOWED_NS,
    CHUNK_BYTES,
    IN_RATE,
    JITTER_NS,
    LATENCY_NS,
    LINK_RATE,
    LOSS,
    NODE_WIDTH,
    OUT_RATE,
    SEED,
    SOURCE,
    STALL_NS,
    SWITCH,
    TARGET,
)

_SMALLEST_RING, _LARGEST_RING = 1 << 18, 1 << 26  # bytes


@dataclass(frozen=True, slots=True)
class Link:
    """One direction between two nodes."""

    latency_ns: int
    jitter_ns: int
    rate_ps: int  # a byte; 0: no limit of its own
    loss: int  # of 2^31 packets
    stall_ns: int
    allowed_ns: int  # after being due; what comes later is counted

    @property
    def ring_bytes(self) -> int:
        """Room for what is under way at full rate, a power of two: a full ring holds senders up."""
        under_way = 0
        if self.rate_ps:
            under_way = (self.latency_ns + self.jitter_ns) * 1000 // self.rate_ps
        wanted = max(_SMALLEST_RING, under_way + 8 * CHUNK_BYTES)
        return int(min(_LARGEST_RING, 1 << (wanted - 1).bit_length()))


class Network:
    """Ports, switch and links of a cluster; each a second time for probes, which share nothing.

    Args:
        text: JSON: `seed`, `switch_ps`, `nodes` [[out_ps, in_ps], ..] (picoseconds a byte; 0 is no
            limit) and `links` [[source, target, latency_ns, jitter_ns, rate_ps, loss, stall_ns,
            allowed_ns], ..].

    Raises:
        RequestError: what cannot be read.
    """

    def __init__(self, text: str) -> None:
        try:
            data: dict[str, Any] = json.loads(text)
            rates = [(int(out), int(into)) for out, into in data["nodes"]]
            self._links = {(int(a), int(b)): Link(*map(int, rest)) for a, b, *rest in data["links"]}
            self._seed, switch_ps = int(data["seed"]), int(data["switch_ps"])
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(f"the relay's network cannot be read: {error!r}") from None
        self.n_nodes = len(rates)
        self._half = self.n_nodes + 1  # rows of one half: nodes, then the switch
        self.nodes: Table = np.zeros((2 * self._half, NODE_WIDTH), np.int64)
        for half in (0, self._half):
            for node, (out_ps, in_ps) in enumerate(rates):
                self.nodes[half + node, OUT_RATE], self.nodes[half + node, IN_RATE] = out_ps, in_ps
            self.nodes[half + self.n_nodes, OUT_RATE] = switch_ps

    def link(self, source: int, target: int) -> Link:
        """One direction.

        Raises:
            RequestError: there is no such link.
        """
        try:
            return self._links[source, target]
        except KeyError:
            raise RequestError(f"no link from node {source} to node {target}") from None

    def fill(self, flow: Table, source: int, target: int, *, is_probe: bool) -> None:
        """Write into a row of the flows where it goes and how long that takes.

        A probe has neither jitter nor losses: those are drawn, and a probe is to tell how far a
        message is from when it is due.
        """
        link, half = self.link(source, target), self._half if is_probe else 0
        flow[SOURCE], flow[TARGET], flow[SWITCH] = half + source, half + target, half + self.n_nodes
        flow[LATENCY_NS], flow[LINK_RATE] = link.latency_ns, link.rate_ps
        flow[ALLOWED_NS] = link.allowed_ns
        if not is_probe:
            flow[JITTER_NS] = link.jitter_ns
            flow[LOSS], flow[STALL_NS] = link.loss, link.stall_ns
        flow[SEED] = self._seed * 1009 + source * 64 + target + 32768 * is_probe


def read_network(file: Path) -> Network:
    """The network of a file; raises RequestError."""
    try:
        return Network(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"the relay's network cannot be read: {error}") from None
