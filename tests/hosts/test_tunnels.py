"""The tunnels of docs/security.md: workers on loopback, every connection through SSH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dllama_engine.cli.flags.arguments import WorkerArgs
from dllama_engine.cli.flags.parsing import parse
from tests.data import ROOT
from tests.engine.processes import (
    GENEROUS_S,
    TOKEN,
    Node,
    environment,
    inference_arguments,
    read_events,
    run,
    wait_until,
)
from tests.hosts import netns, sshd

DOCUMENT = (ROOT / "docs/security.md").read_text("utf-8")


@contextmanager
def tunnel(server: sshd.Sshd, port: int, prefix: tuple[str, ...] = ()) -> Iterator[None]:
    """The document's line, with the options that keep a user's own files out of it."""
    line = f"-N -o ExitOnForwardFailure=yes -L 127.0.0.1:{port}:127.0.0.1:{port}"
    assert f"ssh {line.replace(str(port), '9001')} pi1" in DOCUMENT
    private = ["-F", "none", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
    login = ["-i", str(server.keys / "id"), "-p", str(server.port), f"root@{server.address}"]
    process = subprocess.Popen(
        [*prefix, "ssh", *private, *line.split(), *login],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        look = ["python3", "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}))"]

        def is_open() -> bool:
            assert process.poll() is None, "the tunnel ended"
            return subprocess.run([*prefix, *look], stderr=subprocess.DEVNULL).returncode == 0

        wait_until(is_open, "the tunnel")
        yield
    finally:
        process.terminate()
        process.wait()


def worker(folder: Path, rank: int, port: int, prefix: tuple[str, ...]) -> Node:
    """A worker of another host, on that host's loopback."""
    log_path, events_path = folder / f"worker{rank}.log", folder / f"worker{rank}.jsonl"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [
                *(*prefix, sys.executable, "-m", "dllama_engine.cli", "worker"),
                *("--port", str(port), "--events", str(events_path)),
                *("--exit-with-parent", str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
    return Node(process, log_path, events_path)


def test_a_cluster_whose_every_connection_goes_through_ssh(
    pis: list[sshd.Sshd], network: netns.Network | None, tmp_path: Path
) -> None:
    if network is None:
        pytest.skip("hosts with a loopback of their own need network namespaces")
    ports = [sshd.free_port(), sshd.free_port()]
    places = [tuple(network.prefix(n)) for n in (1, 2)]
    with ExitStack() as stack:
        for rank, (port, place) in enumerate(zip(ports, places, strict=True), start=1):
            node = worker(tmp_path, rank, port, place)
            stack.callback(node.stop)
            node.wait_event("listening")
        stack.enter_context(tunnel(pis[0], ports[0], places[1]))  # rank 2 needs rank 1's port
        stack.enter_context(tunnel(pis[0], ports[0]))
        stack.enter_context(tunnel(pis[1], ports[1]))
        addresses = [f"127.0.0.1:{port}" for port in ports]
        same_bits = ("--sync-mode", "invariant", "--events")
        alone, together = tmp_path / "alone.jsonl", tmp_path / "together.jsonl"
        done = run(*inference_arguments(steps=12), *same_bits, alone)
        assert done.returncode == 0, done.stderr
        done = run(
            *inference_arguments(steps=12), *same_bits, together, "--workers", *addresses,
            "--timeout", GENEROUS_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert _tokens(together) == _tokens(alone)
    assert TOKEN not in done.stdout


def _tokens(events: Path) -> list[int]:
    return [event["token_id"] for event in read_events(events) if event["event"] == "step"]


def test_the_documents_addresses_and_options_exist() -> None:
    """What is told to be typed can be typed."""
    lines = [line.strip().partition("$   ")[2] or line.strip() for line in DOCUMENT.splitlines()]
    workers = [line for line in lines if line.startswith("dllama-py worker")]
    assert len(workers) == 4
    parsed = [parse(line.split()[1:]) for line in workers]
    hosts = [args.host for args in parsed if isinstance(args, WorkerArgs)]
    assert hosts == ["127.0.0.1", "127.0.0.1", "10.66.0.2", "10.66.0.3"]
