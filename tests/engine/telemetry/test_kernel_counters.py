"""TCP_INFO and /proc/net/dev: real sockets, and files as kernels write them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from dllama_engine.telemetry.kernel_counters import (
    Interface,
    KernelCounters,
    interface_of,
    interfaces,
    tcp_info,
)
from dllama_engine.wire.frames import SYNC_NODE_SLICES
from dllama_engine.wire.links import Links
from tests.engine.wire.meshes import in_threads

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:   900      12    0    0    0     0          0         0      900      12    0    0    0     0       0          0
  eth0:123456789  777    2    3    0     0          0         0 98765432     555    4    5    0     0       0          0
broken: 1 2 x
"""  # noqa: E501


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


def test_the_kernels_rows_are_read_by_their_columns() -> None:
    assert interfaces(lambda: NET_DEV) == {
        "lo": Interface(900, 0, 900, 0),
        "eth0": Interface(123456789, 5, 98765432, 9),
    }


def test_a_machine_without_that_file_tells_nothing() -> None:
    def missing() -> str:
        raise FileNotFoundError("/proc/net/dev")

    assert interfaces(missing) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")
def test_the_kernel_tells_of_a_link_what_our_counters_say(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ranks = [Links(0, 2, {1: pair[0]}), Links(1, 2, {0: pair[1]})]
    counters = KernelCounters(ranks[0])

    def exchange(rank: int) -> None:
        for _ in range(9):
            got = {1 - rank: bytearray(100)}
            ranks[rank].exchange(SYNC_NODE_SLICES, {1 - rank: bytes(100)}, got)

    in_threads([lambda rank=rank: exchange(rank) for rank in range(2)])
    (link,), (nic,) = counters.told()
    assert (link.peer, link.interface, nic.name) == (1, "lo", "lo")
    assert link.segments - link.retransmits == 9  # a busy machine may probe, on loopback too
    assert link.rtt_us >= link.min_rtt_us > 0
    assert (nic.own_sent_bytes, nic.own_recv_bytes) == (972, 972)
    assert nic.sent_bytes >= 2 * 972  # both ends are on this machine
    counters.restart()
    (link,), _ = counters.told()
    assert link.segments == link.retransmits


def test_a_socket_that_is_none_of_tcp_tells_nothing() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert tcp_info(near) is None
        assert interface_of(near) is None
        assert KernelCounters(Links(0, 2, {1: near})).told() == ((), ())


def test_a_kernel_without_tcp_info_is_no_error(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_INFO", raising=False)
    assert tcp_info(pair[0]) is None
