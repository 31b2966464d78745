"""Round-trip time and bandwidth between two hosts, over the same kind of socket as the engine's.

One host serves, the other measures: TCP without delay, a short message there and back for the
round trip, then a stream of blocks that is acknowledged once at its end for the bandwidth.
"""

from __future__ import annotations

import hmac
import json
import os
import socket
import statistics
import struct
import sys
import threading
import time
from typing import Any

from pytest_dllama.hosts.agent.processes import AgentError

KEY_BYTES = 32
PING = b"p" * 64
N_PINGS = 40
BLOCK = bytes(64 * 1024)
STREAM_S = 0.25
CONNECT_TIMEOUT_S = 5.0
SERVE_S = 60.0  # nobody needs it for longer
_LENGTH = struct.Struct("<Q")


def serve(address: str) -> None:
    """Serve whoever holds the key that came by standard input, until that input ends."""
    key = bytes.fromhex(sys.stdin.readline().strip())
    threading.Thread(target=_end_with_input, daemon=True).start()
    with socket.create_server((address, 0)) as server:
        print(json.dumps({"port": server.getsockname()[1]}), flush=True)
        server.settimeout(SERVE_S)
        while True:
            try:
                sock, _ = server.accept()
            except TimeoutError:
                return
            with sock:
                sock.settimeout(CONNECT_TIMEOUT_S)
                try:
                    if hmac.compare_digest(_exactly(sock, KEY_BYTES), key):
                        _serve_one(sock)
                except (OSError, EOFError):
                    continue


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _serve_one(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(N_PINGS):
        sock.sendall(_exactly(sock, len(PING)))
    n_bytes = 0
    while chunk := sock.recv(len(BLOCK)):
        n_bytes += len(chunk)
    sock.sendall(_LENGTH.pack(n_bytes))


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Measure the link to a serving host; `key` is its key.

    Raises:
        AgentError: it cannot be reached.
    """
    address = (request["address"], request["port"])
    try:
        with socket.create_connection(address, CONNECT_TIMEOUT_S) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(bytes.fromhex(request["key"]))
            return {"rtt_ms": _rtt_ms(sock), "bandwidth_mbps": _bandwidth_mbps(sock)}
    except (OSError, EOFError) as error:
        raise AgentError(f"{address[0]}:{address[1]} cannot be reached: {error}") from None


def _rtt_ms(sock: socket.socket) -> float:
    times_ms = []
    for _ in range(N_PINGS):
        start_s = time.perf_counter()
        sock.sendall(PING)
        _exactly(sock, len(PING))
        times_ms.append((time.perf_counter() - start_s) * 1e3)
    return statistics.median(times_ms)


def _bandwidth_mbps(sock: socket.socket) -> float:
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < STREAM_S:
        sock.sendall(BLOCK)
    sock.shutdown(socket.SHUT_WR)
    (n_bytes,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    return float(n_bytes) * 8 / 1e6 / (time.perf_counter() - start_s)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError("closed by the other side")
        data += chunk
    return data
