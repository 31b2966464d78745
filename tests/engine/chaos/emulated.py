"""Emulated links in front of the chaos relays: what is shaped like 1 GbE breaks like anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dllama_engine.system.atomic_file import atomic_writer
from pytest_dllama.emulation.topology import uniform

LINK = "latency=0.2ms,jitter=0.05ms,rate=940mbit,seed=7"


class EmulatedLinks:
    """The engine's own relay; workers are dialed at its doors, which lead to `ports`."""

    def __init__(self, folder: Path, n_nodes: int) -> None:
        self._routes = folder / "routes.json"
        network = folder / "network.json"
        network.write_text(uniform(LINK).network_text(n_nodes), "utf-8")
        self.lead({}, {})
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dllama_engine.tools.relay"),
                *(str(network), str(self._routes), str(os.getpid())),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        assert told["event"] == "listening", told
        self.doors = {int(rank): int(port) for rank, port in told["doors"].items()}
        self._errors: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """All that it tells, to its end: thousands of connections come and go."""
        assert self._process.stdout is not None
        told = map(json.loads, self._process.stdout)
        self._errors += [event for event in told if event["event"] == "error"]

    def lead(self, ports: Mapping[int, int], pids: Mapping[int, int]) -> None:
        """Where each worker's door leads, and by which process its own connections are known."""
        routes = {str(rank): ("127.0.0.1", port, pids[rank]) for rank, port in ports.items()}
        with atomic_writer(self._routes) as file:
            file.write(json.dumps(routes).encode())

    def close(self) -> None:
        """End the relay.

        Raises:
            AssertionError: it had failed.
        """
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        assert self._errors == []
