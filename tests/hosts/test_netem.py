"""The relay beside the kernel's own shaper: the same messages over `tc netem` and the relay."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dllama_engine.relay.doors import LOOPBACK, Doors
from dllama_engine.relay.forwarder import Forwarder
from dllama_engine.relay.network import Network as RelayNetwork
from tests.hosts import netns
from tests.hosts.conftest import skip_or_fail

DELAY_MS, RATE_KBIT = 20, 1000
PACKET, FRAME = 1448, 1514  # payload of a full packet, and what netem counts of it
N_MESSAGES, GAP_S = 7, 0.3
# Both ends print times of the monotonic clock, which all namespaces share.
RECEIVE = """
import socket, sys, time
n, size = int(sys.argv[2]), int(sys.argv[3])
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
sock, _ = server.accept()
for _ in range(n):
    left = size
    while left:
        left -= len(sock.recv(left))
    print(time.monotonic_ns(), flush=True)
"""
SEND = """
import socket, sys, time
n, size, gap = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(n):
    time.sleep(gap)
    print(time.monotonic_ns(), flush=True)
    sock.sendall(bytes(size))
sock.recv(1)
"""


def _least_ms(
    receiver: Sequence[str], sender: Sequence[str], address: str, size: int,
    through: Callable[[int], tuple[str, int]],
) -> float:  # fmt: skip
    """From a message's send to its last byte: of the message that nothing else held up."""
    listen = [*receiver, sys.executable, "-c", RECEIVE, address, str(N_MESSAGES), str(size)]
    with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as receiving:
        assert receiving.stdout is not None
        host, port = through(int(receiving.stdout.readline()))
        send = [*sender, sys.executable, "-c", SEND, host, str(port), str(N_MESSAGES), str(size)]
        sent = subprocess.run(
            [*send, str(GAP_S)], capture_output=True, text=True, check=True, timeout=180
        )
        came = receiving.stdout.read()
    times = zip(map(int, sent.stdout.split()), map(int, came.split()), strict=True)
    return min((end - start) / 1e6 for start, end in times)


@contextmanager
def _relay(folder: Path) -> Iterator[Callable[[int], tuple[str, int]]]:
    rate_ps = 8_000_000_000 // RATE_KBIT * FRAME // PACKET
    link = [DELAY_MS * 1_000_000, 0, 0, 0, 0, 0]
    nodes = {"seed": 1, "switch_ps": 0, "nodes": [[rate_ps, rate_ps]] * 2}
    network = RelayNetwork(json.dumps({**nodes, "links": [[0, 1, *link], [1, 0, *link]]}))
    errors: list[BaseException] = []
    forwarder, routes, ends = (
        Forwarder(network, errors.append),
        folder / "routes",
        threading.Event(),
    )
    doors = Doors(forwarder, routes, print)
    ports, _ = doors.open()
    forwarder.start()
    serving = threading.Thread(target=doors.serve, args=(ends.is_set,))
    serving.start()

    def through(port: int) -> tuple[str, int]:
        routes.write_text(json.dumps({"1": [LOOPBACK, port, 0]}))
        return LOOPBACK, ports[1]

    try:
        yield through
    finally:
        ends.set()
        serving.join()
        doors.close()
        forwarder.close()
    assert errors == []


@pytest.fixture(scope="module")
def shaped() -> Iterator[netns.Network]:
    """Two namespaces; what leaves the first is held up by the kernel."""
    skip_or_fail(netns.missing())
    network = netns.Network(2)
    try:
        network.up()
        qdisc = f"tc qdisc add dev eth0 root netem delay {DELAY_MS}ms rate {RATE_KBIT}kbit"
        done = subprocess.run([*network.prefix(1), *qdisc.split()], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"this kernel has no netem: {done.stderr.strip()}")
        yield network
    finally:
        network.down()


@pytest.mark.parametrize("size", [64, 9 * PACKET], ids=["small", "nine packets"])
def test_the_relay_delays_as_the_kernel_does(
    size: int, shaped: netns.Network, tmp_path: Path
) -> None:
    """By as much within a tenth: what the one holds up, the other does."""
    address = shaped.address(2)
    kernel = _least_ms(
        shaped.prefix(2), shaped.prefix(1), address, size, lambda port: (address, port)
    )
    with _relay(tmp_path) as through:
        relay = _least_ms((), (), LOOPBACK, size, through)
    assert kernel > DELAY_MS  # it was in the way at all
    assert relay == pytest.approx(kernel, rel=0.1, abs=3)
