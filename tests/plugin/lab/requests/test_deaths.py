"""What is said of a root that a signal ended."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from pytest_dllama.backends.base import EngineOptions
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.history.run_files import read_run
from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.local import LocalHost
from pytest_dllama.lab.requests import failure
from pytest_dllama.lab.requests.cluster import Cluster, ClusterError, Worker
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, None),
        (None, None),
        (1, None),
        (130, None),  # dllama-py's own, of Ctrl-C
        (141, None),
        (143, None),
        (-9, signal.SIGKILL),
        (137, signal.SIGKILL),  # by a shell in between
        (-11, signal.SIGSEGV),
        (134, signal.SIGABRT),
        (255, None),
    ],
)
def test_the_signal_behind_an_exit_code(code: int | None, expected: signal.Signals | None) -> None:
    assert failure.killed_by(code) == expected


def test_a_death_is_told_with_the_memory_then() -> None:
    text = failure.death(signal.SIGKILL, LocalHost("pi3"))
    assert text.startswith("the root was killed by SIGKILL; pi3 had ")
    assert "MB of memory available then (a host that runs out of memory kills so" in text
    assert "dmesg" not in failure.death(signal.SIGSEGV, LocalHost())


_KILLS_THE_ROOT = """
import os
from pytest_dllama.hosts.local import LocalHost

_start, _killed = LocalHost.start, []

def _start_and_kill_the_first_root(self, command, *arguments, **named):
    process = _start(self, command, *arguments, **named)
    if "inference" in command and not _killed:
        os.kill(process.pid, 9)
        _killed.append(process.pid)
    return process

LocalHost.start = _start_and_kill_the_first_root
"""


def test_a_cell_whose_root_is_killed_is_measured_anew_and_marked(tmp_path: Path) -> None:
    (tmp_path / "kills_the_root.py").write_text(_KILLS_THE_ROOT)
    run = RealRun(tmp_path)
    run.start([
        str(ROOT / "suites"), "--models", SMALL_MODEL, "--nodes", "1", "--steps", "16", "-k",
        "tpot", "--history", "off", "--warmup", "0", "-p", "kills_the_root",
    ])  # fmt: skip
    assert run.finish() == pytest.ExitCode.OK, run.output
    (cell,) = read_run(run.report / "run.json").cells
    assert cell.status == "ok"
    assert cell.retried is not None
    assert "the root was killed by SIGKILL; localhost had " in cell.retried
    assert "events end after" in cell.retried
    assert f"{cell.id}, measured anew ↻: {cell.retried}" in run.output
    first, second = (log for log in cell.logs if "repeat1.root.stdout" in log)
    assert second.replace("retry1.", "") == first
    assert (run.report / first).exists()
    assert (run.report / second).stat().st_size > 0


def test_a_worker_whose_log_has_no_room_is_the_cause(tmp_path: Path) -> None:
    """The root only knows that its worker was told to end."""
    stdout = tmp_path / "worker1.stdout.log"
    stdout.symlink_to("/dev/full")
    process = LocalHost().start([sys.executable, "-c", "print(1)"], "worker1", tmp_path, {})
    with pytest.raises(HostError):
        process.read_line(60.0)
    worker = Worker(1, process, "127.0.0.1", 1, ())
    (cause,) = failure.given_up([worker])
    words = f"worker 1: the log {stdout} cannot be written (No space left on device); make room"
    assert cause.startswith(words)
    process.stop()


def test_a_worker_without_a_log_costs_no_waiting(tmp_path: Path) -> None:
    (tmp_path / "worker1.stdout.log").symlink_to("/dev/full")
    backend = make_backend("embedded", EngineOptions())
    cluster = Cluster([LocalHost(), LocalHost()], backend, tmp_path, 1)
    try:
        with pytest.raises(
            ClusterError, match=r"worker 1 .*the log .* cannot be written \(No space"
        ):
            cluster.ensure(2)
    finally:
        cluster.stop()
