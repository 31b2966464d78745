"""The relay's listening sockets: one for each node but the root, and one for probes.

Who comes in by a node's door is taken to where that node really listens, which a file of routes
says: it is read anew each time, for workers come and go. By which link is known from who dialed.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dllama_engine.errors import EngineError, RequestError
from dllama_engine.relay.dialers import dialer_of
from dllama_engine.relay.forwarder import Connection, Forwarder, check_links

LOOPBACK = "127.0.0.1"
ROOT = 0
PROBE = struct.Struct("!HHH")  # what a probe says first: source, target, the port it listens on
_CONNECT_S = 2.0
_BACKLOG = 64
_PAUSE_S = 0.1  # before the next, when one could not be accepted


@dataclass(frozen=True, slots=True)
class Route:
    """Where a node really is."""

    host: str
    port: int
    session: int  # of its processes


def read_routes(file: Path) -> dict[int, Route]:
    """Of all nodes that are up: `{"1": [host, port, session], ..}`; raises RequestError."""
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {int(node): Route(*route) for node, route in data.items()}
    except (OSError, ValueError, TypeError) as error:
        raise RequestError(f"routes cannot be read: {error}") from None


class Doors:
    """Accepts, finds out who comes, connects to where they want to go, and hands over.

    Args:
        forwarder: takes the connections.
        routes: the file.
        log: takes what went wrong with one connection.
    """

    def __init__(self, forwarder: Forwarder, routes: Path, log: Callable[[str], None]) -> None:
        self._forwarder, self._routes, self._log = forwarder, routes, log
        self._nodes: dict[int, socket.socket] = {}
        self._probe: socket.socket | None = None

    def open(self) -> tuple[dict[int, int], int]:
        """Listen; returns the port of each node's door, and that of the probes'."""
        for node in range(1, self._forwarder.network.n_nodes):
            self._nodes[node] = socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)
        self._probe = socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)
        doors = {node: _port(door) for node, door in self._nodes.items()}
        return doors, _port(self._probe)

    def serve(self, must_end: Callable[[], bool]) -> None:
        """Let in whoever comes, until it must end."""
        assert self._probe is not None
        with selectors.DefaultSelector() as selector:
            for node, door in self._nodes.items():
                selector.register(door, selectors.EVENT_READ, node)
            selector.register(self._probe, selectors.EVENT_READ, None)
            while not must_end():
                for key, _ in selector.select(0.2):
                    assert isinstance(key.fileobj, socket.socket)
                    self._let_in(key.fileobj, key.data)

    def close(self) -> None:
        """Listen no longer."""
        for door in (*self._nodes.values(), *([self._probe] if self._probe else ())):
            door.close()

    def _let_in(self, door: socket.socket, node: int | None) -> None:
        try:
            near, address = door.accept()
        except OSError as error:  # a caller that left at once, or no descriptor is left
            self._log(f"⭕ Nobody could be let in: {error}")
            time.sleep(_PAUSE_S)
            return
        try:
            if node is None:
                connection = self._of_probe(near)
            else:
                connection = self._of_node(near, address, node)
        except (EngineError, OSError) as error:
            self._log(f"⭕ Refused {address[0]}:{address[1]} on its way to node {node}: {error}")
            near.close()
            return
        self._forwarder.add(connection)

    def _of_node(self, near: socket.socket, address: tuple[str, int], node: int) -> Connection:
        routes = read_routes(self._routes)
        if node not in routes:
            raise RequestError("it is not up")
        route, sessions = routes[node], {n: r.session for n, r in routes.items()}
        source = dialer_of(address, near.getsockname(), sessions)
        source = ROOT if source is None else source
        check_links(self._forwarder.network, source, node)
        far = socket.create_connection((route.host, route.port), _CONNECT_S)
        return Connection(near, far, source, node)

    def _of_probe(self, near: socket.socket) -> Connection:
        near.settimeout(_CONNECT_S)
        source, target, port = PROBE.unpack(_exactly(near, PROBE.size))
        check_links(self._forwarder.network, source, target)
        far = socket.create_connection((LOOPBACK, port), _CONNECT_S)
        return Connection(near, far, source, target, is_probe=True)


def _port(door: socket.socket) -> int:
    port: int = door.getsockname()[1]
    return port


def _exactly(sock: socket.socket, n_bytes: int) -> bytes:
    data = sock.recv(n_bytes, socket.MSG_WAITALL)
    if len(data) < n_bytes:
        raise RequestError("it said nothing")
    return data


def last_hop_ns(forwarder: Forwarder, n_times: int = 31, latency_ns: int = 300_000) -> int:
    """What a message takes beside the delay of its link, the median: two hops of this machine.

    Measured through the loop itself, on a link of the probes: from the call that sends until the
    kernel has it for the receiver.
    """
    with socket.create_server((LOOPBACK, 0)) as server:
        ends = [socket.create_connection(server.getsockname())]
        ends.append(server.accept()[0])
        ends.append(socket.create_connection(server.getsockname()))
        ends.append(server.accept()[0])
    sender, near, far, receiver = ends
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    receiver.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
    receiver.settimeout(_CONNECT_S)
    forwarder.add(Connection(near, far, ROOT, 1, is_probe=True, latency_ns=latency_ns))
    found = []
    for _ in range(n_times):
        sent_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        sender.send(b"\0")
        with suppress(TimeoutError):
            found.append(_stamped_ns(receiver) - sent_ns - latency_ns)
        time.sleep(0.0005)
    for end in (sender, receiver):
        end.close()
    found.sort()
    return max(0, found[len(found) // 2]) if found else 0


_STAMPS = 35  # SO_TIMESTAMPNS


def _stamped_ns(receiver: socket.socket) -> int:
    """When what is read was there for the receiver, by the wall clock."""
    _, control, _, _ = receiver.recvmsg(64, 64)
    for _, kind, data in control:
        if kind == _STAMPS:
            seconds, ns = struct.unpack_from("qq", data)
            return int(seconds) * 1_000_000_000 + int(ns)
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
