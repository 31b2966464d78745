"""Whoever calls a worker and is none of its cluster: refused, named, and nobody's delay."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from dllama_engine.errors import HandshakeError
from dllama_engine.wire.connecting import handshake
from dllama_engine.wire.connecting.handshake import probe_worker
from tests.engine.cluster.served import assert_free
from tests.engine.processes import (
    GENEROUS_S,
    TOKEN,
    Node,
    inference_arguments,
    run,
)


@contextmanager
def connected(node: Node) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", node.port), GENEROUS_S) as sock:
        yield sock


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no dllama-py root: it began with b'GET / HTTP'"),
        (b"\x00" * 4096, "no dllama-py root"),
        (b"DLLAMAPY", "left during the handshake"),
        (handshake._OURS + b"\x07" + bytes(32), "sent nonsense"),
        (handshake._OURS + b"\x01" + bytes(64), "holds another cluster's token"),
    ],
)
def test_a_stranger_costs_one_line_in_the_log(workers: list[Node], sent: bytes, words: str) -> None:
    with connected(workers[0]) as sock:
        sock.sendall(sent)
        host, port = sock.getsockname()
        name = f"{host}:{port}"
        with suppress(OSError):  # the worker may have closed it by now
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    workers[0].wait_log(f"Refused {name}:")
    line = next(line for line in workers[0].log.splitlines() if name in line)
    assert words in line
    probe_worker("127.0.0.1", workers[0].port, TOKEN.encode())


def test_a_silent_stranger_delays_nobody(workers: list[Node]) -> None:
    with connected(workers[0]), connected(workers[0]) as half, connected(workers[0]) as resetting:
        half.sendall(b"DLL")
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        resetting.close()
        assert_free(workers[:1])


def test_a_flood_of_silent_strangers_is_turned_away_and_forgotten(own_worker: Node) -> None:
    strangers = [socket.create_connection(("127.0.0.1", own_worker.port)) for _ in range(100)]
    for sock in strangers:
        sock.close()
    assert_free([own_worker])


def test_another_token_is_refused_on_both_sides(own_worker: Node) -> None:
    done = run(*inference_arguments([own_worker]), DLLAMA_PY_TOKEN="quite another token")
    assert done.returncode == 1
    assert "🚨 Critical error" in done.stderr
    assert "holds another cluster's token" in done.stderr
    assert "--token-file" in done.stderr
    own_worker.wait_log("Refused 127.0.0.1")
    assert_free([own_worker])


def test_another_version_names_both(workers: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = handshake.PROTOCOL_VERSION
    monkeypatch.setattr(handshake, "PROTOCOL_VERSION", 77)
    monkeypatch.setattr(handshake, "_OURS", handshake._PREFIX.pack(b"DLLAMAPY", 77))
    with pytest.raises(
        HandshakeError, match=f"speaks protocol version {spoken}, this process version 77"
    ):
        probe_worker("127.0.0.1", workers[0].port, TOKEN.encode())
    workers[0].wait_log(f"speaks protocol version 77, this process version {spoken}")


def test_what_is_no_worker_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            sock, _ = server.accept()
            sock.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
            sock.close()

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(HandshakeError, match=r"no dllama-py worker: it began with b'SSH-2"):
            probe_worker("127.0.0.1", server.getsockname()[1], TOKEN.encode())
        thread.join()


def test_probe_tells_what_the_worker_is(workers: list[Node]) -> None:
    info = probe_worker("127.0.0.1", workers[1].port, TOKEN.encode())
    assert info.pid == workers[1].process.pid
    assert info.hostname == socket.gethostname()
    assert info.busy is None
    assert info.available_bytes > 1 << 20
