"""Links of several ranks over real sockets, and ranks as threads of one process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from itertools import combinations
from typing import Any

from dllama_engine.wire.links import Links

Mesh = Callable[[int, float], list[Links]]  # of a world size and a timeout in seconds


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one loopback TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def mesh(world_size: int, timeout_s: float = 60.0) -> list[Links]:
    """Every rank connected with every other."""
    ends: list[dict[int, socket.socket]] = [{} for _ in range(world_size)]
    for a, b in combinations(range(world_size), 2):
        ends[a][b], ends[b][a] = tcp_pair()
    return [Links(rank, world_size, ends[rank], timeout_s) for rank in range(world_size)]


def in_threads(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run all jobs at once; the first exception is raised here."""
    results: list[Any] = [None] * len(jobs)
    failures: list[BaseException] = []

    def run(index: int) -> None:
        try:
            results[index] = jobs[index]()
        except BaseException as error:  # handed to the test's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "deadlock"
    if failures:
        raise failures[0]
    return results
