"""`--keep-workers`: a second run takes the workers of the first, unless something has changed."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import psutil
import pytest

from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.history.run_files import read_run
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.hosts.ssh.kept_token import forget_token, kept_token
from pytest_dllama.lab.requests.cluster import Cluster
from tests.data import ROOT
from tests.engine.processes import runs, wait_until
from tests.hosts import sshd
from tests.plugin.real_runs import RealRun

pytestmark = pytest.mark.long

SUITES = str(ROOT / "suites")
SMALL = ("--models", "tiny", "--steps", "12", "--warmup", "0", "--repeats", "1", "--nodes", "2")
TOKEN = "5e" * 32


def _worker_pids(folder: Path) -> list[int]:
    return sorted(
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if {"dllama_engine.cli", "worker"} <= set(process.info["cmdline"] or ())
        and str(folder) in " ".join(process.info["cmdline"] or ())
    )


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    """The user's state folder, where the token is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_the_next_run_takes_the_same_worker_and_clean_ends_it(boards, tmp_path, state) -> None:
    pids = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        run = RealRun(folder)
        run.start([SUITES, *SMALL, "--hosts", str(boards.file), "--keep-workers"])
        assert run.finish() == 0, run.output
        (cell,) = read_run(run.report / "run.json").cells
        assert cell.verdict
        assert cell.verdict.status == "PASS"
        pids.append(_worker_pids(boards.folder))
    assert len(pids[0]) == 1
    assert pids[1] == pids[0]
    (token,) = state.rglob("*.token")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert not any(token.read_text() in line for line in sshd.leftovers(boards.folder))

    facts = boards.command("hosts", "facts", "--hosts-only", "pi2")
    assert "pi2: warning: kept-pi2/worker of an earlier session runs there" in facts.stderr
    done = boards.command("hosts", "clean")
    # The boards share a home and are cleaned at the same time: any of them may come first.
    assert re.search(rf"pi\d: kept-pi2/worker: process {pids[0][0]} stopped", done.stdout)
    assert sshd.left_behind(boards.folder) == []
    assert list(state.rglob("*.token")) == []


class _Sessions:
    """Clusters on one board, each as a session of its own."""

    def __init__(self, server: sshd.Sshd, inventory_of, logs: Path) -> None:
        self.server, self._inventory_of, self._logs = server, inventory_of, logs
        self.hosts: list[SshHost] = []

    def cluster(self, token: str = TOKEN, nthreads: int = 1, head: str = "") -> Cluster:
        inventory = self._inventory_of([self.server], head=head)
        host = SshHost(inventory.hosts[0], inventory)
        self.hosts.append(host)
        logs = self._logs / f"{len(self.hosts)}"
        return Cluster([host, host], EmbeddedBackend(), logs, nthreads, token)

    def worker_pid(self, **options: object) -> int:
        """The worker's of a new session, which then leaves it."""
        cluster = self.cluster(**options)  # type: ignore[arg-type]
        self.hosts[-1].agent.open()
        cluster.ensure(2)
        (worker,) = cluster.workers(2)
        cluster.stop()
        assert self.hosts[-1].close() is None
        assert worker.process.pid
        return worker.process.pid


@pytest.fixture
def sessions(make_sshd, inventory_of, tmp_path):
    made = _Sessions(make_sshd(), inventory_of, tmp_path / "logs")
    yield made
    made.hosts[-1].clear()
    made.hosts[-1].close()
    assert sshd.left_behind(made.server.folder) == []


def test_other_options_or_another_token_make_a_new_worker(sessions) -> None:
    first = sessions.worker_pid()
    assert sessions.worker_pid() == first
    second = sessions.worker_pid(nthreads=2)
    assert second != first
    assert not runs(first)
    assert sessions.worker_pid(nthreads=2, token="ab" * 32) != second
    assert not runs(second)


def test_another_engine_makes_a_new_worker(sessions, monkeypatch) -> None:
    first = sessions.worker_pid()

    class Wheel:
        digest = "of changed sources"

    monkeypatch.setattr("pytest_dllama.hosts.ssh.host.engine_wheel", Wheel)
    assert sessions.worker_pid() != first


def test_a_kept_worker_that_does_not_answer_is_replaced(sessions, monkeypatch) -> None:
    first = sessions.worker_pid()
    monkeypatch.setattr("pytest_dllama.lab.requests.cluster.PROBE_TIMEOUT_S", 3.0)
    psutil.Process(first).suspend()
    assert sessions.worker_pid() != first
    assert not runs(first)


def test_a_kept_worker_ends_when_nobody_comes(sessions) -> None:
    pid = sessions.worker_pid(head="keep_s = 3.0")
    wait_until(lambda: not runs(pid), "the worker's end")
    reasons = wait_until(lambda: list(sessions.server.folder.rglob("reason")), "the reason")
    assert [file.read_text() for file in reasons] == ["nobody asked for it for 3 s"]


def test_the_token_is_one_a_hosts_file_and_can_be_forgotten(tmp_path, state) -> None:
    a, b = tmp_path / "a.toml", tmp_path / "b.toml"
    assert kept_token(a) == kept_token(a) != kept_token(b)
    first = kept_token(a)
    forget_token(a)
    assert kept_token(a) != first
    for file in state.rglob("*.token"):
        file.write_text("")  # a full disk
    assert len(kept_token(b)) == 64
