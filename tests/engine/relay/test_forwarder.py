"""Streams through the relay's loop: whole, in order, held up as long as they should be."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from dllama_engine.errors import RequestError
from dllama_engine.relay.dialers import dialer_of
from dllama_engine.relay.doors import LOOPBACK, PROBE, Doors, read_routes
from dllama_engine.relay.forwarder import MAX_CONNECTIONS, Connection, Forwarder, Passed
from dllama_engine.relay.network import Network
from dllama_engine.wire.links import Links
from tests.engine.woven import expected, run_woven

LATENCY_NS = 3_000_000
RATE_PS = 8511  # 940 Mbit/s
TIMEOUT_S = 120.0  # only a failing test waits so long

Pair = tuple[socket.socket, socket.socket]


class Relay:
    """A forwarder and its doors in threads of this process."""

    def __init__(self, folder: Path) -> None:
        link = [LATENCY_NS, 0, RATE_PS, 0, 0, 10**9]
        nodes = {"nodes": [[RATE_PS, RATE_PS]] * 3, "seed": 1, "switch_ps": 0}
        pairs = [[a, b, *link] for a in range(3) for b in range(3) if a != b]
        self.errors: list[BaseException] = []
        self.refused: list[str] = []
        self.routes = folder / "routes.json"
        self.routes.write_text("{}")
        network = Network(json.dumps({**nodes, "links": pairs}))
        self.passed: list[Passed] = []
        self.forwarder = Forwarder(network, self.errors.append, self.passed.append)
        self._ends = threading.Event()
        self._doors = doors = Doors(self.forwarder, self.routes, self.refused.append)
        self.ports, self.probe_port = doors.open()
        self.forwarder.start()
        self._thread = threading.Thread(target=doors.serve, args=(self._ends.is_set,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ends.set()
        self._thread.join(TIMEOUT_S)
        self._doors.close()
        self.forwarder.close()

    def pair(self) -> Pair:
        """Both ends of a probe's connection from node 0 to node 1."""
        with socket.create_server((LOOPBACK, 0)) as server:
            near = socket.create_connection((LOOPBACK, self.probe_port), TIMEOUT_S)
            near.sendall(PROBE.pack(0, 1, server.getsockname()[1]))
            server.settimeout(TIMEOUT_S)
            far, _ = server.accept()
        for end in (near, far):
            end.settimeout(TIMEOUT_S)
        return near, far


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    relay = Relay(tmp_path_factory.mktemp("relay"))
    yield relay
    relay.close()
    assert relay.errors == []


@pytest.fixture
def pair(relay: Relay) -> Iterator[Pair]:
    near, far = relay.pair()
    with closing(near), closing(far):
        yield near, far


def _read(sock: socket.socket, n_bytes: int) -> bytes:
    parts = []
    while n_bytes:
        part = sock.recv(min(n_bytes, 1 << 16))
        if not part:
            break
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def test_a_message_is_never_early(relay: Relay, pair: Pair) -> None:
    for sender, receiver in (pair, pair[::-1]):
        sent_ns = time.monotonic_ns()
        sender.sendall(b"hello")
        assert _read(receiver, 5) == b"hello"
        assert time.monotonic_ns() - sent_ns >= LATENCY_NS - relay.forwarder.lead_ns


def test_halves_of_a_batch_are_summed_over_a_link_that_holds_senders_up(pair: Pair) -> None:
    """Ranks that post frames of a mebibyte and compute before they read."""
    ends = [Links(rank, 2, {1 - rank: end}, TIMEOUT_S) for rank, end in enumerate(pair)]
    found: dict[int, list[np.ndarray]] = {}

    def rank_main(rank: int) -> None:
        found[rank] = run_woven(rank, ends[rank])

    threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * TIMEOUT_S)
    assert sorted(found) == [0, 1]
    for rank, both in found.items():
        assert np.array_equal(both, expected(2, rank))


def test_a_long_stream_comes_whole_both_ways(pair: Pair) -> None:
    """More than the ring and all buffers hold: what is full holds its sender up."""
    data = os.urandom(1 << 16) * 40
    senders = [threading.Thread(target=end.sendall, args=(data,)) for end in pair]
    for sender in senders:
        sender.start()
    got: dict[int, bytes] = {}

    def read(i: int) -> None:
        got[i] = _read(pair[i], len(data))

    readers = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    for thread in readers:
        thread.start()
    for thread in (*senders, *readers):
        thread.join(TIMEOUT_S)
    assert got[0] == data
    assert got[1] == data


def test_a_receiver_that_reads_nothing_holds_its_sender_up(pair: Pair) -> None:
    near, far = pair
    near.settimeout(0.3)
    sent = 0
    with suppress(TimeoutError):
        while sent < 1 << 27:
            sent += near.send(bytes(1 << 16))
    assert sent < 1 << 27
    near.settimeout(TIMEOUT_S)
    assert len(_read(far, sent)) == sent


def test_an_end_of_stream_comes_behind_the_bytes_and_one_way_only(pair: Pair) -> None:
    near, far = pair
    near.sendall(b"last words")
    near.shutdown(socket.SHUT_WR)
    assert _read(far, 100) == b"last words"
    far.sendall(b"answer")
    assert _read(near, 6) == b"answer"
    far.close()
    assert near.recv(1) == b""


def test_a_reset_is_passed_on(pair: Pair) -> None:
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
    with pytest.raises(ConnectionResetError):
        far.recv(1)


def test_connections_come_and_go_without_end(relay: Relay) -> None:
    """More of them than there is room for at once: rows are used again."""
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(MAX_CONNECTIONS + 4):
        near, far = relay.pair()
        near.close()
        assert far.recv(1) == b""
        far.close()
    _until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 4)


def test_a_node_that_is_not_up_is_refused(relay: Relay) -> None:
    with socket.create_connection((LOOPBACK, relay.ports[2]), TIMEOUT_S) as sock:
        assert sock.recv(1) == b""
    assert any("on its way to node 2: it is not up" in line for line in relay.refused)


def test_who_comes_by_a_door_is_known_by_its_session(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of node 2's session dials node 1; who is of none that is known is root."""
    found: list[tuple[int, int]] = []
    add = relay.forwarder.add

    def see(connection: Connection) -> None:
        found.append((connection.source, connection.target))
        add(connection)

    monkeypatch.setattr(relay.forwarder, "add", see)
    dial = "import socket,sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)"
    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(TIMEOUT_S)
        child = subprocess.Popen(
            ["sh", "-c", f'sleep 0.2; {sys.executable} -c "$1" $2', "-", dial, str(relay.ports[1])],
            start_new_session=True,
        )
        routes = {"1": [LOOPBACK, server.getsockname()[1], 0], "2": [LOOPBACK, 1, child.pid]}
        relay.routes.write_text(json.dumps(routes))
        try:
            server.accept()[0].close()
            with socket.create_connection((LOOPBACK, relay.ports[1]), TIMEOUT_S):
                server.accept()[0].close()
                _until(lambda: len(found) == 2)  # told once the far end is there
        finally:
            child.wait(TIMEOUT_S)
            relay.routes.write_text("{}")
    assert found == [(2, 1), (0, 1)]
    _until(lambda: len(relay.passed) == 4)  # probes are none of them
    ways = {(passed.source, passed.target) for passed in relay.passed}
    assert ways == {(2, 1), (1, 2), (0, 1), (1, 0)}
    assert all(passed.late == 0 for passed in relay.passed)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_dialer_is_found_by_its_socket() -> None:
    dial = "import socket,sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)"
    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(TIMEOUT_S)
        port = str(server.getsockname()[1])
        child = subprocess.Popen([sys.executable, "-c", dial, port], start_new_session=True)
        accepted, address = server.accept()
        with accepted:
            assert dialer_of(address, accepted.getsockname(), {3: child.pid}) == 3
            assert dialer_of(address, accepted.getsockname(), {3: 1 << 30}) is None
        child.wait(TIMEOUT_S)


def test_a_session_that_began_outside_this_container_is_no_nodes(tmp_path: Path) -> None:
    """All of its processes say 0, the relay's own among them."""
    address, door = ("127.0.0.1", 4321), ("127.0.0.1", 8080)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        "  sl  local_address rem_address st tx rx tr when retrnsmt uid timeout inode\n"
        # The port's last connection, which the kernel still keeps, and another that is open.
        "   0: 0100007F:10E1 0100007F:1F90 06 0:0 00:0 0 0 0 0 3\n"
        "   1: 0100007F:10E1 0100007F:1F91 01 0:0 00:0 0 0 0 7787 1\n"
        "   2: 0100007F:10E1 0100007F:1F90 01 0:0 00:0 0 0 0 7788 1\n"
    )
    for number, session in ((41, 0), (40, 40)):
        (tmp_path / f"{number}/fd").mkdir(parents=True)
        (tmp_path / f"{number}/stat").write_text(f"{number} (a b) S 1 {number} {session} 0")
        (tmp_path / f"{number}/fd/3").symlink_to("socket:[7788]")
    assert dialer_of(address, door, {1: 0, 2: 40}, tmp_path) == 2


def test_routes_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "routes.json").write_text('{"1": [')
    with pytest.raises(RequestError, match="routes cannot be read"):
        read_routes(tmp_path / "routes.json")
