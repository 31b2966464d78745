"""The real dllama's start/stop road, with a stand-in program that really listens and connects.

A stand-in, not dllama: nothing here measures anything.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pytest_dllama.backends.base import WorkerNotReady
from pytest_dllama.backends.dllama.backend import DllamaBackend
from pytest_dllama.backends.process_guard import guarded, unguarded
from pytest_dllama.events.request import Step
from pytest_dllama.events.session import Error, Listening
from pytest_dllama.events.stream import Event
from pytest_dllama.hosts.local import LocalHost
from pytest_dllama.lab.requests.cluster import Cluster, ClusterError
from pytest_dllama.lab.requests.failure import KILLED, RequestFailed
from pytest_dllama.lab.requests.runner import RequestRun, run_request
from pytest_dllama.metrics.samples import sample_of
from tests.plugin.backends import dllama_stand_in
from tests.plugin.backends.requests import REQUEST
from tests.plugin.backends.stand_in_program import write_program

BUILD = "The output is that of dllama's upstream build."
START_S = 180.0  # how long a process may take to show up or go; nothing is measured


@pytest.fixture
def binary(tmp_path: Path) -> str:
    """The stand-in as a program of its own."""
    return str(write_program(tmp_path / "dllama"))


@pytest.fixture
def clusters(tmp_path: Path, binary: str) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(*arguments: str, nodes: int = 2) -> Cluster:
        backend = DllamaBackend(binary, arguments)
        made.append(Cluster([LocalHost()] * nodes, backend, tmp_path / "logs", 1))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


def run(cluster: Cluster, name: str = "run", nodes: int = 2, timeout_s: float = 60.0) -> RequestRun:
    request = replace(REQUEST, timeout_s=timeout_s)
    return run_request(cluster, request, nodes, name, lambda event: None)


def eventually(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + START_S
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def test_requests_one_after_the_other_on_workers_that_listen_anew(
    clusters: Callable[..., Cluster],
) -> None:
    cluster = clusters()
    cluster.ensure(2)
    (worker,) = cluster.workers(2)
    for n in range(3):
        trace = run(cluster, f"run{n}").trace
        assert sample_of(trace).n_output_tokens == 43
        assert trace.start is not None
        assert trace.start.version == "dllama (upstream)"
    cluster.ensure(2)  # looking at a worker must not use up its accept
    assert cluster.workers(2) == (worker,)
    assert run(cluster, "again").trace.text.startswith("efdcefdc")
    log = worker.process.log_files[0].read_text(encoding="utf-8")
    assert log.count("The root node has connected") == 4


def test_one_node_needs_no_worker(clusters: Callable[..., Cluster]) -> None:
    done = run(clusters(nodes=1), nodes=1)
    trace = done.trace
    assert (len(trace.tokens), trace.token_ids, trace.notes[0]) == (43, (), BUILD)
    assert done.last_token_s is not None  # energy needs to know when the request was
    assert 0 <= time.time() - done.last_token_s < START_S


def test_commands_are_shown_as_typed(clusters: Callable[..., Cluster], binary: str) -> None:
    cluster = clusters("--net-turbo", "0", nodes=1)
    backend = cluster.backend
    command = backend.worker_command("127.0.0.1", 0, 4, str(os.getpid()))
    shown = backend.shown(command, 9999)
    assert "--host" not in shown  # nobody has asked yet what the program knows
    cluster.ensure(1)
    command = backend.worker_command("127.0.0.1", 0, 4, str(os.getpid()))
    shown = backend.shown(command, 9999)
    assert shown == (
        *(binary, "worker", "--host", "127.0.0.1", "--port", "9999", "--nthreads", "4"),
        *("--net-turbo", "0"),
    )
    assert unguarded(("dllama", "worker")) == ("dllama", "worker")
    assert guarded(["dllama", "worker"], "lease") == ["stdbuf", "-oL", "-eL", "dllama", "worker"]
    assert unguarded(guarded(["dllama", "worker"], "lease")) == ("dllama", "worker")


def test_a_worker_that_cannot_listen_says_why(
    clusters: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        monkeypatch.setattr(
            "pytest_dllama.backends.dllama.backend._free_port", lambda host: taken.getsockname()[1]
        )
        with pytest.raises(ClusterError, match="Cannot bind port"):
            clusters().ensure(2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo 'Critical error: no room'", "its last words: Critical error: no room"),
        ("echo 'what():  no room' >&2", "its last words: what():  no room"),
        ("true", "it printed nothing"),
    ],
)
def test_a_worker_that_ends_at_once_says_why_on_either_output(
    tmp_path: Path, line: str, words: str
) -> None:
    program = tmp_path / "dllama"
    program.write_text(f"#!/bin/sh\n{line}\nexit 3\n")
    program.chmod(0o755)
    cluster = Cluster([LocalHost()] * 2, DllamaBackend(str(program), ()), tmp_path / "logs", 1)
    with pytest.raises(ClusterError) as caught:
        cluster.ensure(2)
    cluster.stop()
    assert f"ended with exit code 3; {words}" in str(caught.value)


def test_a_dead_worker_is_started_again(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters("--fail", "die-after-session")
    cluster.ensure(2)
    (first,) = cluster.workers(2)
    run(cluster)
    with pytest.raises(RequestFailed, match="worker1 ended"):
        run(cluster, "too-soon")
    assert eventually(lambda: first.process.wait(0) is not None)
    cluster.ensure(2)
    assert cluster.workers(2) != (first,)
    run(cluster, "again")


def test_a_root_that_crashes_tells_how_far_it_came(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters("--fail", "root-crash")
    cluster.ensure(2)
    with pytest.raises(RequestFailed, match="output ends after 43 tokens") as caught:
        run(cluster)
    assert caught.value.kind == KILLED
    said = str(caught.value)
    assert re.search("the root was killed by SIGSEGV; .* of memory available then", said)
    assert said.endswith("its last words: nn-cpu.cpp:1: Assertion `a < b' failed.")


def test_a_worker_out_of_reach(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters()
    cluster.ensure(2)
    (worker,) = cluster.workers(2)
    assert worker.process.pid is not None
    os.killpg(worker.process.pid, signal.SIGKILL)
    assert eventually(lambda: worker.process.wait(0) is not None)
    with pytest.raises(RequestFailed, match="ended"):
        run(cluster)


def test_a_busy_worker_is_waited_for_and_no_longer_than_asked(
    clusters: Callable[..., Cluster],
) -> None:
    cluster = clusters()
    cluster.ensure(2)
    (worker,) = cluster.workers(2)
    with socket.create_connection((worker.host, worker.port)):  # a root that stays
        assert eventually(
            lambda: "connected" in worker.process.log_files[0].read_text(encoding="utf-8")
        )
        with pytest.raises(WorkerNotReady, match="still serves an earlier root after"):
            cluster.backend.await_idle(worker.process, 0.3)
        # the lines are read now: what is known must not be forgotten
        with pytest.raises(WorkerNotReady):
            cluster.backend.await_idle(worker.process, 0.3)
    cluster.backend.await_idle(worker.process, START_S)


def test_everything_ends_with_the_cluster(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters()
    cluster.ensure(2)
    (worker,) = cluster.workers(2)
    assert worker.process.pid is not None
    family = psutil.Process(worker.process.pid)
    everyone = [family, *family.children(recursive=True)]
    assert len(everyone) >= 3  # shell, watcher, program
    cluster.stop()
    assert eventually(lambda: not any(map(is_alive, everyone)))


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("parent", ["pid", "stdin"])
def test_a_guarded_program_ends_with_its_parent(parent: str) -> None:
    """The parent is a process of its own, killed without a chance to clean up."""
    starter = subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE)
    argument = str(starter.pid) if parent == "pid" else "stdin"
    guard = subprocess.Popen(
        guarded(["sleep", "601"], argument), stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        family = psutil.Process(guard.pid)
        assert eventually(lambda: len(family.children(recursive=True)) >= 3)
        everyone = family.children(recursive=True)
        starter.kill()
        starter.wait()
        if parent == "stdin":
            assert guard.stdin is not None
            guard.stdin.close()
        assert guard.wait(START_S) == 143
        assert eventually(lambda: not any(map(is_alive, everyone)))
    finally:
        for process in (starter, guard):
            process.kill()
            process.wait()
        for stream in (starter.stdin, guard.stdin):
            assert stream is not None
            stream.close()


def test_a_program_that_ends_at_once_is_not_waited_for() -> None:
    """The watcher's fork may come after the program's end; of 60 such ends 21 hung once."""
    for parent in ("stdin", str(os.getpid())):
        ends = [
            subprocess.Popen(
                guarded(["true"], parent),
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            for _ in range(12)
        ]
        try:
            assert [process.wait(START_S) for process in ends] == [0] * len(ends)
            assert [process.stderr.read() for process in ends if process.stderr] == [b""] * 12
        finally:
            for process in ends:
                with process:
                    process.kill()


@pytest.mark.parametrize("code", [0, 7])
def test_a_guard_passes_the_exit_code_and_leaves_nobody(code: int, tmp_path: Path) -> None:
    program = f'until [ -e "$1" ]; do sleep 0.05; done; exit {code}'
    command = ["sh", "-c", program, "sh", str(tmp_path / "seen")]
    guard = subprocess.Popen(guarded(command, str(os.getpid())), start_new_session=True)
    family = psutil.Process(guard.pid)
    assert eventually(lambda: len(family.children(recursive=True)) >= 3)
    everyone = family.children(recursive=True)
    (tmp_path / "seen").touch()
    assert guard.wait(START_S) == code
    assert eventually(lambda: not any(map(is_alive, everyone)))


def test_what_single_lines_tell_while_it_runs(binary: str) -> None:
    backend = DllamaBackend(binary)

    def told(line: str) -> Event | None:
        return backend.parse(line)

    listening = told("Listening on 0.0.0.0:9999...\n")
    assert isinstance(listening, Listening)
    assert listening.port == 9999
    assert isinstance(told("🚨 Critical error: Cannot open file\n"), Error)
    assert isinstance(told("🔶 Pred    5 ms Sync   33 ms | Sent   2 kB Recv   1 kB | a"), Step)
    assert told("💡 Dim: 768") is None
    assert told("anything") is None
    assert backend.events(["not dllama\n"], 2) == []


def test_a_stall_is_explained_with_the_workers_logs(binary: str) -> None:
    logs = dllama_stand_in.LOGS
    lines = (logs / "fork_inference_n4.log").read_text(encoding="utf-8").splitlines(keepends=True)
    workers = [logs / f"fork_inference_n4.worker{rank}.log" for rank in (1, 2, 3)]
    events = DllamaBackend(binary).events(lines, 4, [*workers, logs / "none.log"])
    (error,) = [event for event in events if isinstance(event, Error)]
    assert "same --collective" in error.message
