"""Worker processes: strangers, deaths on either side, signals, ports."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dllama_engine.errors import HandshakeError
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.wire.connecting import handshake
from dllama_engine.wire.connecting.handshake import HandshakeCut, probe_worker
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

LONG_SHAPE = (
    "dim=64,n_layers=2,n_heads=4,hidden_dim=64,vocab_size=512,seq_len=32768,weight_type=q40"
)


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Arguments of a request that would run for minutes."""
    model, tokenizer = write_synthetic(LONG_SHAPE, tmp_path_factory.mktemp("long"))
    files = ["--model", model, "--tokenizer", tokenizer]
    return ["inference", *files, "--prompt", "hello", "--temperature", 0, "--steps", 30000]


@pytest.fixture
def own_worker(tmp_path: Path) -> Iterator[Node]:
    node = start_worker(tmp_path, "own")
    yield node
    node.stop(signal.SIGKILL)


@contextmanager
def connected(node: Node) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", node.port), GENEROUS_S) as sock:
        yield sock


def start_long(
    tmp_path: Path, long_model: list[object], workers: list[Node], *more: object
) -> Node:
    """A root in the middle of a long request."""
    addresses = [worker.address for worker in workers]
    root = start(tmp_path, "root", *long_model, "--workers", *addresses, *more)
    root.wait_event("step", 5)
    return root


def assert_free(workers: list[Node]) -> None:
    """The workers are ready for a root, or soon will be."""

    def is_free(port: int) -> bool:
        try:
            return probe_worker("127.0.0.1", port, TOKEN.encode()).busy is None
        except HandshakeCut:  # it still has more callers than it takes
            return False

    for worker in workers:
        wait_until(lambda port=worker.port: is_free(port), "a free worker")


def assert_serves(workers: list[Node]) -> None:
    """The workers take the next root as if nothing had happened."""
    done = run(*inference_arguments(workers, steps=8))
    assert done.returncode == 0, done.stderr


# -- strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no dllama-py root: it began with b'GET / HTTP'"),
        (b"\x00" * 4096, "no dllama-py root"),
        (b"DLLAMAPY", "left during the handshake"),
        (handshake._OURS + b"\x07" + bytes(32), "sent nonsense"),
        (handshake._OURS + b"\x01" + bytes(64), "holds another cluster's token"),
    ],
)
def test_a_stranger_costs_one_line_in_the_log(workers: list[Node], sent: bytes, words: str) -> None:
    with connected(workers[0]) as sock:
        sock.sendall(sent)
        host, port = sock.getsockname()
        name = f"{host}:{port}"
        with suppress(OSError):  # the worker may have closed it by now
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    workers[0].wait_log(f"Refused {name}:")
    line = next(line for line in workers[0].log.splitlines() if name in line)
    assert words in line
    probe_worker("127.0.0.1", workers[0].port, TOKEN.encode())


def test_a_silent_stranger_delays_nobody(workers: list[Node]) -> None:
    with connected(workers[0]), connected(workers[0]) as half, connected(workers[0]) as resetting:
        half.sendall(b"DLL")
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        resetting.close()
        assert_free(workers[:1])


def test_a_flood_of_silent_strangers_is_turned_away_and_forgotten(own_worker: Node) -> None:
    strangers = [socket.create_connection(("127.0.0.1", own_worker.port)) for _ in range(100)]
    for sock in strangers:
        sock.close()
    assert_free([own_worker])


def test_another_token_is_refused_on_both_sides(own_worker: Node) -> None:
    done = run(*inference_arguments([own_worker]), DLLAMA_PY_TOKEN="quite another token")
    assert done.returncode == 1
    assert "🚨 Critical error" in done.stderr
    assert "holds another cluster's token" in done.stderr
    assert "--token-file" in done.stderr
    own_worker.wait_log("Refused 127.0.0.1")
    assert_free([own_worker])


def test_another_version_names_both(workers: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = handshake.PROTOCOL_VERSION
    monkeypatch.setattr(handshake, "PROTOCOL_VERSION", 77)
    monkeypatch.setattr(handshake, "_OURS", handshake._PREFIX.pack(b"DLLAMAPY", 77))
    with pytest.raises(
        HandshakeError, match=f"speaks protocol version {spoken}, this process version 77"
    ):
        probe_worker("127.0.0.1", workers[0].port, TOKEN.encode())
    workers[0].wait_log(f"speaks protocol version 77, this process version {spoken}")


def test_what_is_no_worker_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            sock, _ = server.accept()
            sock.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
            sock.close()

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(HandshakeError, match=r"no dllama-py worker: it began with b'SSH-2"):
            probe_worker("127.0.0.1", server.getsockname()[1], TOKEN.encode())
        thread.join()


def test_probe_tells_what_the_worker_is(workers: list[Node]) -> None:
    info = probe_worker("127.0.0.1", workers[1].port, TOKEN.encode())
    assert info.pid == workers[1].process.pid
    assert info.hostname == socket.gethostname()
    assert info.busy is None
    assert info.available_bytes > 1 << 20


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
