"""When bytes come out of a link: ports, switch, latency, jitter, loss. No process, no socket."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from dllama_engine.arrays import Table
from dllama_engine.errors import RequestError
from dllama_engine.kernels.run import delays
from dllama_engine.relay.network import Network
from dllama_engine.tables.relay import FLOW_WIDTH

GIGABIT_PS = 8000  # a byte
LATENCY_NS = 100_000
due_ns: Any = delays.due_ns.py_func


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The very functions that are compiled, as Python runs them."""
    for name in ("draw", "_passes", "_jitter_ns", "_stalled_ns"):
        monkeypatch.setattr(delays, name, getattr(delays, name).py_func)


class Ports:
    """Three nodes on one switch."""

    def __init__(
        self, *, rate_ps: int = 0, switch_ps: int = 0, jitter_ns: int = 0, loss: int = 0,
        seed: int = 1, port_ps: int = GIGABIT_PS,
    ) -> None:  # fmt: skip
        rest = [LATENCY_NS, jitter_ns, rate_ps, loss, 200_000_000, 25_000]
        links = [[a, b, *rest] for a in range(3) for b in range(3) if a != b]
        text = json.dumps(
            {"seed": seed, "switch_ps": switch_ps, "nodes": 3 * [[port_ps] * 2], "links": links}
        )
        self.network = Network(text)
        self._flows: dict[tuple[int, int, bool], Table] = {}

    def due(self, way: tuple[int, int], size: int, at_ns: int, *, is_probe: bool = False) -> int:
        key = (*way, is_probe)
        if key not in self._flows:
            self._flows[key] = np.zeros(FLOW_WIDTH, np.int64)
            self.network.fill(self._flows[key], *way, is_probe=is_probe)
        return int(due_ns(self._flows[key], self.network.nodes, size, at_ns))


def test_a_message_takes_its_bytes_and_the_latency() -> None:
    assert Ports().due((0, 1), 1000, 5_000) == 5_000 + 8_000 + LATENCY_NS


def test_the_senders_port_is_shared_by_its_links() -> None:
    ports = Ports()
    assert ports.due((0, 1), 1000, 0) == 8_000 + LATENCY_NS
    assert ports.due((0, 2), 1000, 0) == 16_000 + LATENCY_NS
    assert ports.due((1, 0), 1000, 0) == 8_000 + LATENCY_NS  # ways do not disturb each other


def test_the_receivers_port_is_shared_too() -> None:
    ports = Ports()
    assert ports.due((0, 2), 1000, 0) == 8_000 + LATENCY_NS
    assert ports.due((1, 2), 1000, 0) == 16_000 + LATENCY_NS


def test_a_switch_may_carry_less_than_its_ports() -> None:
    ports = Ports(switch_ps=GIGABIT_PS)
    assert ports.due((0, 1), 1000, 0) == 8_000 + LATENCY_NS
    assert ports.due((2, 0), 1000, 0) == 16_000 + LATENCY_NS  # no port in common


def test_a_link_may_be_slower_than_the_port() -> None:
    ports = Ports(rate_ps=10 * GIGABIT_PS)
    assert ports.due((0, 1), 1000, 0) == 80_000 + LATENCY_NS
    assert ports.due((0, 2), 1000, 0) == 88_000 + LATENCY_NS  # the port was free after 8 us


def test_probes_share_nothing() -> None:
    ports = Ports(switch_ps=GIGABIT_PS)
    ports.due((0, 1), 1_000_000, 0)
    assert ports.due((0, 1), 1000, 0, is_probe=True) == 8_000 + LATENCY_NS


def test_a_probe_has_neither_jitter_nor_losses() -> None:
    ports = Ports(jitter_ns=50_000, loss=(1 << 31) - 1, port_ps=0)
    assert {ports.due((0, 1), 1, at, is_probe=True) - at for at in range(0, 9000, 1000)} == {
        LATENCY_NS
    }


def test_a_port_that_was_idle_has_saved_nothing_up() -> None:
    ports = Ports()
    ports.due((0, 1), 1000, 0)
    assert ports.due((0, 1), 1000, 1_000_000) == 1_008_000 + LATENCY_NS


def test_jitter_is_around_the_latency_seeded_and_never_reorders() -> None:
    jitter_ns = 50_000

    def delays_of(seed: int) -> list[int]:
        ports = Ports(jitter_ns=jitter_ns, seed=seed, port_ps=0)
        return [ports.due((0, 1), 100, at) - at for at in range(0, 2_000_000_000, 1_000_000)]

    found = delays_of(1)
    assert found == delays_of(1)
    assert found != delays_of(2)
    assert min(found) >= LATENCY_NS - jitter_ns
    assert max(found) <= LATENCY_NS + jitter_ns
    assert abs(float(np.median(found)) - LATENCY_NS) < jitter_ns / 10
    assert max(found) - min(found) > 1.9 * jitter_ns
    ports = Ports(jitter_ns=jitter_ns)
    dense = [ports.due((0, 1), 100, at) for at in range(0, 1_000_000, 1_000)]
    assert dense == sorted(dense)


def test_flows_draw_numbers_of_their_own() -> None:
    ports = Ports(jitter_ns=50_000, port_ps=0)
    there = [ports.due((0, 1), 1, at) - at for at in range(0, 10**8, 10**6)]
    back = [ports.due((1, 0), 1, at) - at for at in range(0, 10**8, 10**6)]
    assert abs(np.corrcoef(there, back)[0, 1]) < 0.35


def test_a_lost_packet_holds_up_what_follows() -> None:
    ports = Ports(loss=(1 << 31) // 100, port_ps=0)
    found = [ports.due((0, 1), 100, at) - at for at in range(0, 20_000 * 10**9, 10**9)]
    stalled = sum(delay > LATENCY_NS for delay in found)
    assert 150 < stalled < 250  # of 20000, a hundredth; seeded: the same each time
    assert max(found) == LATENCY_NS + 200_000_000
    always = Ports(loss=(1 << 31) - 1, port_ps=0)
    first = always.due((0, 1), 100, 0)
    assert always.due((0, 1), 0, 1000) >= first  # an end of stream has no packet, but its turn


def test_a_long_link_has_room_for_what_is_under_way() -> None:
    slow = Ports().network.link(0, 1)
    assert slow.ring_bytes == 1 << 18
    far = json.dumps(
        {
            "seed": 1, "switch_ps": 0, "nodes": [[0, 0], [0, 0]],
            "links": [[0, 1, 30_000_000, 0, 8511, 0, 0, 0]],
        }
    )  # fmt: skip
    assert Network(far).link(0, 1).ring_bytes == 1 << 22  # 3.5 MB at 940 Mbit/s over 30 ms


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(RequestError, match="the relay's network cannot be read"):
        Network("{}")
    with pytest.raises(RequestError, match="no link from node 0 to node 9"):
        Ports().network.link(0, 9)
