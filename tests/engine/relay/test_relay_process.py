"""The relay's process: who starts it may be slow to read what it tells."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dllama_engine.relay.doors import LOOPBACK

LINK = [10_000, 0, 0, 0, 0, 10**9]  # 10 us, and nothing else
PIPE_BYTES = 4096  # of what nobody reads; the least that Linux has
TIMEOUT_S = 120.0  # only a failing test waits so long

Relay = subprocess.Popen[bytes]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    pairs = [[a, b, *LINK] for a in range(2) for b in range(2) if a != b]
    network = {"nodes": [[0, 0]] * 2, "seed": 1, "switch_ps": 0, "links": pairs}
    (tmp_path / "network.json").write_text(json.dumps(network))
    (tmp_path / "routes.json").write_text("{}")
    files = [str(tmp_path / name) for name in ("network.json", "routes.json")]
    command = [sys.executable, "-m", "dllama_engine.tools.relay", *files, str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def _read(relay: Relay) -> dict[str, Any]:
    assert relay.stdout is not None
    event: dict[str, Any] = json.loads(relay.stdout.readline())
    return event


def test_a_reader_that_is_late_holds_up_no_link(relay: Relay, tmp_path: Path) -> None:
    assert relay.stdout is not None
    listening = _read(relay)
    fcntl.fcntl(relay.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    line = json.dumps({"event": "passed", "source": 0, "target": 1, "messages": 1, "late": 0})
    n_connections = PIPE_BYTES // len(line)  # two lines each: the pipe is full by half of them
    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(TIMEOUT_S)
        (tmp_path / "routes.json").write_text(json.dumps({"1": [LOOPBACK, _port(server), 0]}))
        door = (LOOPBACK, listening["doors"]["1"])
        for number in range(n_connections):
            with socket.create_connection(door, TIMEOUT_S) as near:
                far, _ = server.accept()
                with far:
                    far.settimeout(TIMEOUT_S)
                    near.sendall(bytes([number]))
                    assert far.recv(1) == bytes([number])
    told = [_read(relay) for _ in range(2 * n_connections)]
    ways = Counter((event["event"], event["source"], event["target"]) for event in told)
    assert ways == {("passed", 0, 1): n_connections, ("passed", 1, 0): n_connections}


def _port(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port
