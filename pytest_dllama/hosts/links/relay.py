"""The relay's process: started, told where workers listen, watched.

What it does is the engine's `tools.relay`; here is who runs it. Ranks dial each other by its ports,
so that it is between every two of them, whatever engine they are.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_dllama.emulation.topology import Topology
from pytest_dllama.hosts.base import HostError, HostProcess

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 120.0  # the first time its loop is compiled


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the relay listens."""

    nodes: dict[int, int]  # node -> port
    probe_port: int
    lead_us: float
    priority: str


class LinkRelay:
    """One relay for the ranks of one cluster.

    Args:
        topology: the network.
        nodes: how many, the root among them.
        logs: folder of its files.
        name: what they begin with.
        start: starts a command on this machine.
    """

    def __init__(
        self,
        topology: Topology,
        nodes: int,
        logs: Path,
        name: str,
        start: Callable[[Sequence[str], str], HostProcess],
    ) -> None:
        self.topology, self.nodes = topology, nodes
        self._logs, self._name, self._start = logs, name, start
        self._routes: dict[int, tuple[str, int, int]] = {}
        self._process: HostProcess | None = None
        self._doors: Doors | None = None
        self._starts = 0

    @property
    def doors(self) -> Doors:
        """Where it listens, once it is up."""
        assert self._doors is not None
        return self._doors

    def ensure(self) -> None:
        """Have it up: started at first, and anew when it has ended.

        Raises:
            HostError: it does not come up.
        """
        if self._process is not None and self._process.wait(0) is None:
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        network = self._logs / f"{self._name}.network.json"
        network.write_text(self.topology.network_text(self.nodes), encoding="utf-8")
        self._write_routes()
        self._starts += 1
        again = f".start{self._starts}" if self._starts > 1 else ""
        command = [
            *(sys.executable, "-P", "-m", "dllama_engine.tools.relay"),
            *(str(network), str(self._routes_file), str(os.getpid())),
        ]
        self._process = self._start(command, f"{self._name}{again}")
        self._doors = self._await_doors(self._process)

    @property
    def _routes_file(self) -> Path:
        return self._logs / f"{self._name}.routes.json"

    def _write_routes(self) -> None:
        """Whole, for it is read at any moment."""
        text = json.dumps({str(node): route for node, route in self._routes.items()})
        new = self._routes_file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self._routes_file)

    def _await_doors(self, process: HostProcess) -> Doors:
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                line = process.read_line(max(0.0, end_s - time.monotonic()))
            except TimeoutError as error:
                raise HostError(f"the relay of the links does not come up: {error}") from None
            if line is None:
                raise HostError(f"the relay of the links ended: {process.error_tail()}")
            found: dict[str, Any] = json.loads(line)
            if found["event"] == "error":
                raise HostError(f"the relay of the links failed: {found['message']}")
            doors = {int(node): int(port) for node, port in found["doors"].items()}
            lead_us, priority = float(found["lead_us"]), str(found["priority"])
            return Doors(doors, int(found["probe_port"]), lead_us, priority)

    def route(self, node: int, host: str, port: int, session: int | None) -> str:
        """From now on a node is there; returns the address by which the others reach it.

        Args:
            node: its rank.
            host: where it listens.
            port: there.
            session: the session id of its processes, by which the relay knows it as a dialer.
        """
        self._routes[node] = (host, port, session or 0)
        self._write_routes()
        return f"{LOOPBACK}:{self.doors.nodes[node]}"

    def passed(self, ways: int, patience_s: float) -> tuple[int, int]:
        """Messages of the connections that ended since the last call, and how many were late.

        Args:
            ways: directions of connections that are about to end.
            patience_s: how long to wait for them.
        """
        messages = late = 0
        end_s = time.monotonic() + patience_s
        while ways > 0 and self._process is not None:
            try:
                line = self._process.read_line(max(0.0, end_s - time.monotonic()))
            except TimeoutError:
                break
            if line is None:
                break
            found: dict[str, Any] = json.loads(line)
            if found["event"] == "passed":
                messages, late, ways = messages + found["messages"], late + found["late"], ways - 1
        return messages, late

    def lost(self) -> str | None:
        """Why nothing goes through any more; None while it is up."""
        if self._process is None or (code := self._process.wait(0)) is None:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        last_words = self._process.error_tail().strip()
        return f"the relay of the emulated links {how}" + (f": {last_words}" if last_words else "")
