"""What a session imports: no more than it uses, and a worker's before its root comes."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

import pytest

from dllama_engine.cluster.setup import preload
from dllama_engine.system.process import Terminated
from tests.engine.processes import model_arguments, run, start_worker

TELLS = {"PYTHONPROFILEIMPORTTIME": "1"}

# For `--trace` and `--collective auto`, which few sessions ask for.
RARELY_NEEDED = {
    "dllama_engine.collectives.choice", "dllama_engine.telemetry.timeline",
    "dllama_engine.tracing", "dllama_engine.wire.clock",
}  # fmt: skip
OF_ROOTS = {
    "dllama_engine.loading.sending", "dllama_engine.loading.supply",
    "dllama_engine.telemetry.events.loading", "dllama_engine.telemetry.events.session",
    "dllama_engine.telemetry.network_stats", "dllama_engine.generation", "dllama_engine.text",
}  # fmt: skip
OF_WORKERS = {"dllama_engine.loading.receiving", "dllama_engine.telemetry.events.worker"}


@dataclass(frozen=True)
class Imports:
    """What the two processes of a session imported."""

    worker_waiting: set[str]
    worker_in_session: set[str]
    root: set[str]


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> Imports:
    worker = start_worker(tmp_path_factory.mktemp("session"), "worker", **TELLS)
    try:
        request = "inference", *model_arguments(), "--prompt", "a", "--steps", 4
        done = run(*request, "--workers", worker.address, **TELLS)
        assert done.returncode == 0, done.stderr
        worker.wait_log("Network is closed")
    finally:
        worker.stop()
    waiting, session = worker.log.split("The root node has connected", 1)
    return Imports(_imported(waiting), _imported(session), _imported(done.stderr))


def _imported(log: str) -> set[str]:
    return set(re.findall(r"import time:.*\| +(dllama_engine[\w.]+)", log))


def test_a_session_imports_nothing_that_a_waiting_worker_could_have(imports: Imports) -> None:
    """A root pays for what its workers import; a compiler is no part of a waiting worker."""
    assert "dllama_engine.cluster.worker_session" in imports.worker_waiting
    assert [name for name in imports.worker_in_session if "compile" not in name] == []


def test_a_worker_imports_nothing_of_a_roots_and_nothing_for_what_is_not_asked(
    imports: Imports,
) -> None:
    """Half of the time in which a process comes up goes into making classes."""
    assert imports.worker_waiting >= OF_WORKERS
    assert imports.worker_waiting & (OF_ROOTS | RARELY_NEEDED) == set()


def test_a_root_imports_nothing_of_a_workers_and_nothing_for_what_is_not_asked(
    imports: Imports,
) -> None:
    assert imports.root >= OF_ROOTS
    assert imports.root & (OF_WORKERS | RARELY_NEEDED | {"dllama_engine.cli.chat"}) == set()


def test_a_signal_waits_until_all_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that is interrupted while it makes a dataclass dies of it, with a code not ours."""
    imported = []

    def import_module(name: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        imported.append(name)

    def on_signal(signum: int, frame: object) -> None:
        raise Terminated

    monkeypatch.setattr(preload, "import_module", import_module)
    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        with pytest.raises(Terminated):
            preload.preload()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert imported == [*preload.NEEDED]
