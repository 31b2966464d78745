"""Worker processes: deaths on either side, signals, ports, memory."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.wire.connecting.handshake import probe_worker
from tests.engine.cluster.served import assert_free, assert_serves
from tests.engine.processes import (
    GENEROUS_S,
    TOKEN,
    Node,
    command,
    environment,
    inference_arguments,
    model_arguments,
    read_events,
    run,
    runs,
    start,
    start_worker,
    wait_until,
)

# A token takes a few ms: of a smaller one 30 000 are generated within seconds.
LONG_SHAPE = (
    "dim=64,n_layers=2,n_heads=4,hidden_dim=262144,vocab_size=512,seq_len=32768,weight_type=q40"
)


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Arguments of a request that would run for minutes."""
    model, tokenizer = write_synthetic(LONG_SHAPE, tmp_path_factory.mktemp("long"))
    files = ["--model", model, "--tokenizer", tokenizer]
    return ["inference", *files, "--prompt", "hello", "--temperature", 0, "--steps", 30000]


def start_long(
    tmp_path: Path, long_model: list[object], workers: list[Node], *more: object
) -> Node:
    """A root in the middle of a long request."""
    addresses = [worker.address for worker in workers]
    root = start(tmp_path, "root", *long_model, "--workers", *addresses, *more)
    root.wait_event("step", 5)
    return root


# -- ends -----------------------------------------------------------------------------------------


def test_a_killed_worker_is_named_and_the_others_serve_on(
    workers: list[Node], own_worker: Node, tmp_path: Path, long_model: list[object]
) -> None:
    three = [workers[0], own_worker, workers[1]]
    root = start_long(tmp_path, long_model, three)
    own_worker.stop(signal.SIGKILL)
    assert root.wait() == 1
    (error,) = root.events("error")
    assert error["type"] == "WorkerLost"
    assert error["rank"] == 2
    assert f"worker 2 at {own_worker.address}" in error["message"]
    assert "🚨 Critical error" in root.log
    assert "Traceback" not in root.log
    assert root.events("end")[0]["exit_code"] == 1
    assert_serves(workers[:2])


def test_a_suspended_worker_is_lost_after_the_timeout(
    workers: list[Node], own_worker: Node, tmp_path: Path, long_model: list[object]
) -> None:
    root = start_long(tmp_path, long_model, [own_worker, workers[0]], "--timeout", 3)
    own_worker.process.send_signal(signal.SIGSTOP)
    assert root.wait() == 1
    (error,) = root.events("error")
    assert error["rank"] == 1
    assert "no progress in SYNC_" in error["message"]
    assert "for 3 s" in error["message"]
    assert_free([workers[0]])
    own_worker.process.send_signal(signal.SIGCONT)
    assert_free([own_worker])


@pytest.mark.parametrize("collective", ["doubling", "ring", "two-shot", "star"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_whoever_is_lost_is_named_though_others_were_waited_for(
    collective: str,
    number: signal.Signals,
    workers: list[Node],
    own_worker: Node,
    tmp_path: Path,
    long_model: list[object],
) -> None:
    """In rounds and rings the root may wait for a rank that waits for the lost one itself."""
    three = [workers[0], own_worker, workers[1]]
    timeout_s = 4 if number == signal.SIGSTOP else 60  # a killed one is noticed at once
    flags = ("--collective", collective, "--timeout", timeout_s)
    root = start_long(tmp_path, long_model, three, *flags)
    own_worker.process.send_signal(number)
    assert root.wait() == 1
    (error,) = root.events("error")
    assert (error["type"], error["rank"]) == ("WorkerLost", 2), error
    assert f"worker 2 at {own_worker.address}" in error["message"]
    assert_serves(workers[:2])


def test_a_killed_root_frees_the_workers(
    workers: list[Node], tmp_path: Path, long_model: list[object]
) -> None:
    root = start_long(tmp_path, long_model, workers[:2])
    root.stop(signal.SIGKILL)
    assert_serves(workers[:2])


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_root_says_goodbye(
    workers: list[Node], tmp_path: Path, long_model: list[object], signum: int, code: int
) -> None:
    root = start_long(tmp_path, long_model, workers[:1])
    before = len(workers[0].events("session_end"))
    assert root.stop(signum) == code
    assert "Traceback" not in root.log
    assert root.events("end")[0]["exit_code"] == code
    ended = workers[0].wait_event("session_end", before + 1)
    assert "root (rank 0)" in ended["reason"]
    assert_free(workers[:1])


def test_a_second_root_is_refused_or_waits(
    workers: list[Node], tmp_path: Path, long_model: list[object]
) -> None:
    first = start_long(tmp_path, long_model, workers[:1])
    info = probe_worker("127.0.0.1", workers[0].port, TOKEN.encode())
    assert "in a session with 127.0.0.1:" in (info.busy or "")
    patient = start(
        tmp_path, "patient", *inference_arguments(workers[:1], connect_timeout=60, steps=8)
    )
    done = run(*inference_arguments(workers[:1]), "--connect-timeout", 0.3)
    assert done.returncode == 1
    assert "worker 1 at" in done.stderr
    assert "busy: in a session with 127.0.0.1:" in done.stderr
    patient.wait_event("plan")
    first.stop(signal.SIGKILL)
    assert patient.wait() == 0


def test_a_worker_lost_while_idle_is_noticed(own_worker: Node, workers: list[Node]) -> None:
    """A worker told to end in mid-session says so to the root."""
    root = subprocess.Popen(
        command("chat", *model_arguments(), "--chat-template", "llama2", "--workers",
                own_worker.address),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        encoding="utf-8",
    )  # fmt: skip
    own_worker.wait_event("session_start")
    own_worker.wait_log("RequiredMemory")
    assert own_worker.stop(signal.SIGTERM) == 0
    _, stderr = root.communicate("system\nhello\n", timeout=GENEROUS_S)
    assert root.returncode == 1
    assert "worker 1" in stderr
    assert "told to end" in stderr


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_an_idle_worker_cleanly(own_worker: Node, signum: int, code: int) -> None:
    own_worker.wait_event("listening")
    assert own_worker.stop(signum) == code
    assert "Traceback" not in own_worker.log
    assert own_worker.events("end")[0]["exit_code"] == code


def test_a_suspended_worker_that_is_told_to_end_does_so_once_it_goes_on(own_worker: Node) -> None:
    """As after Ctrl-Z, `kill %1` and `fg`: any thread may have taken the signal."""
    own_worker.wait_event("listening")
    own_worker.process.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{own_worker.process.pid}/stat")
    wait_until(lambda: " T " in state.read_text(), "a suspended worker")
    own_worker.process.send_signal(signal.SIGTERM)
    assert own_worker.stop(signal.SIGCONT) == 0, own_worker.log
    assert own_worker.events("end")[0]["exit_code"] == 0


def test_a_taken_port_is_an_error_with_a_remedy(workers: list[Node]) -> None:
    done = run("worker", "--port", workers[0].port)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{workers[0].port} (Address already in use)" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("host", "warns"), [("0.0.0.0", 1), ("::", 1), ("127.0.0.1", 0)])
def test_listening_on_every_address_is_warned_of_once(
    tmp_path: Path, host: str, warns: int
) -> None:
    node = start_worker(tmp_path, "open", "--host", host, "--idle-timeout", 0.1)
    assert node.wait() == 0, node.log
    assert node.log.count("⚠️  This is every address of this host: all who can reach port ") == warns
    assert node.log.count("docs/security.md") == warns


def test_idle_timeout_ends_a_worker(tmp_path: Path) -> None:
    node = start_worker(tmp_path, "idle", "--idle-timeout", 0.1)
    assert node.wait() == 0
    assert "No root came for 0.1 s" in node.log


def test_worker_lines_are_dllamas(workers: list[Node]) -> None:
    assert_serves(workers)
    log = workers[1].log
    assert f"Listening on 127.0.0.1:{workers[1].port}...\n" in log
    for line in ("⭕ nNodes: 4", "⭕ NodeIndex: 2", "⭕ Network is initialized", "🧠 CPU: "):
        assert line in log


# -- orphans --------------------------------------------------------------------------------------

_PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_ends_with_its_killed_parent(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    line = command("worker", "--port", 0, "--exit-with-parent", "--events", events)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, *line], stdout=subprocess.PIPE, env=environment()
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until(lambda: events.exists() and "listening" in events.read_text(), "listening")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not runs(child), "the worker's end")


def test_a_worker_ends_with_the_process_it_is_told(tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    node = start_worker(tmp_path, "child", "--exit-with-parent", sleeper.pid)
    node.wait_event("listening")
    sleeper.kill()
    sleeper.wait()
    assert node.wait() == 0


def test_a_worker_ends_with_its_standard_input() -> None:
    process = subprocess.Popen(
        command("worker", "--port", 0, "--exit-with-parent", "stdin"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"Listening")
    process.stdin.close()
    assert process.wait(GENEROUS_S) == 0
    process.stdout.close()


# -- memory ---------------------------------------------------------------------------------------


def test_a_model_that_does_not_fit_is_refused_before_loading(
    workers: list[Node], tmp_path: Path
) -> None:
    """Some kilobytes of weights and terabytes of KV cache."""
    shape = "dim=64,n_layers=2,n_heads=4,hidden_dim=64,vocab_size=512,seq_len=2147483647"
    model, tokenizer = write_synthetic(shape, tmp_path)
    done = run(
        "inference", "--model", model, "--tokenizer", tokenizer, "--prompt", "x", "--steps", 8,
        "--workers", workers[0].address, workers[1].address,
    )  # fmt: skip
    assert done.returncode == 1
    assert "does not fit: host" in done.stderr
    for words in ("root: weights", "rank 1: weights", "rank 2: weights", "--max-seq-len"):
        assert words in done.stderr
    assert "Loading weights" not in done.stdout
    assert_free(workers[:2])


def test_peak_memory_is_each_sessions_own(
    own_worker: Node, tmp_path: Path, long_model: list[object]
) -> None:
    """A large session's peak is not charged to the small one after it."""
    peaks = []
    for length in (32768, 256):
        events = tmp_path / f"events{length}.jsonl"
        done = run(
            *long_model[:-1], 4, "--max-seq-len", length, "--kv-type", "f32", "--events", events,
            "--workers", own_worker.address,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(read_events(events)[-4]["peak_rss_bytes"])
    kv_cache_bytes = 2 * 2 * 32 * 32768 * 4  # layers, keys and values, half of 64, f32
    assert peaks[0] - peaks[1] > kv_cache_bytes / 2
