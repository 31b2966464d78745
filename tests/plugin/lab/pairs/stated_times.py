"""An engine of one node whose processes state their own times, so that verdicts are exact."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from pytest_dllama.backends.base import Backend, EngineRequest, WorkerNotReady
from pytest_dllama.backends.process_guard import guarded, unguarded
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import parse_models
from pytest_dllama.events.request import Done, RequestStart, Step
from pytest_dllama.events.stream import Event
from pytest_dllama.hosts.base import HostProcess

# Prints what it says it took: a first token, then eight more.
PROGRAM = """
import sys
factor, text = float(sys.argv[1]), sys.argv[2]
for i in range(9):
    print("token", (50.001237 if i == 0 else 10.000731) * factor, text)
"""


class StatedTimes:
    """An engine of one node whose tokens come after the times that it prints."""

    name = "stated"
    reference: Backend | None = None
    cannot_give = MappingProxyType({"root_peak_rss_bytes": "not measured"})

    def __init__(self, factor: float, text: str = "la", program: str = PROGRAM) -> None:
        self._arguments = [str(factor), text]
        self._program = program

    def worker_command(self, host: str, port: int, nthreads: int, parent: str) -> list[str]:
        raise WorkerNotReady("one node only")

    def root_command(
        self, request: EngineRequest, workers: Sequence[str], parent: str
    ) -> list[str]:
        return guarded([sys.executable, "-c", self._program, *self._arguments], parent)

    def shown(self, command: Sequence[str], port: int | None = None) -> tuple[str, ...]:
        return unguarded(command)

    def parse(self, line: str) -> Event | None:
        return None

    def events(
        self, lines: Sequence[str], nodes: int, worker_logs: Sequence[Path] = ()
    ) -> list[Event]:
        found: list[Event] = [RequestStart(event="request", n_input_tokens=1)]
        end_ns = 0
        for index, line in enumerate(lines):
            _, ms, text = line.split()
            start_ns, end_ns = end_ns, end_ns + int(float(ms) * 1e6)
            found.append(
                Step(
                    event="step", phase="decode", index=index, n_tokens=1,
                    start_ns=start_ns, end_ns=end_ns, piece=text,
                )
            )  # fmt: skip
        return [*found, Done(event="done", n_input_tokens=1, n_output_tokens=len(lines))]

    def probe(self, host: str, port: int, token: str, timeout_s: float) -> None:
        raise WorkerNotReady("one node only")

    def await_idle(self, process: HostProcess, timeout_s: float) -> None:
        """Nothing to wait for."""


def config(folder: Path) -> LabConfig:
    return LabConfig(
        node_counts=(1,), models=parse_models("tiny"), steps=32, prompt="One morning, Mina",
        repeats=1, warmup=1, nthreads=1, buffer_float_type="q80", sync_mode="reduce",
        temperature=0.0, seed=1, report_folder=folder, thresholds_file=None,
        request_timeout_s=60.0, explicit=True,
    )  # fmt: skip
