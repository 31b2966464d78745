"""One fault at one line of one rank, and what must come of it.

Three ranks are real processes on this machine. One is held at a line of its log; the fault is put
on the victim; the held one goes on. Then the root must end within its `--timeout` and a little, say
which rank is lost, leave no process behind, and find the survivors ready for the next root.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dllama_engine.wire.connecting.handshake import HandshakeCut, probe_worker
from tests.data import ROOT
from tests.engine.faults.relay import Relay
from tests.engine.processes import TOKEN, Node, inference_arguments, model_arguments, wait_until

TIMEOUT_S = 2.0
LITTLE_S = 2.0  # beyond the timeout
FAULTS = ("kill", "stop", "cut")
WORLD_SIZE = 3

# In the order in which they are printed. After the last ones the root needs nobody any more.
ROOT_LINES = (
    "Socket[0]: connecting",
    "Socket[0]: connected",
    "Socket[1]: connecting",
    "Socket[1]: connected",
    "Network is initialized",
    "Loading weights",
    "Weights loaded",
    "Topology",
    "hello world",
    "Eval ",
    "Pred ",
    "Evaluation",
)
LATE_ROOT_LINES = ("Network Performance Report",)
CHAT_LINES = ("System prompt", "👱 User")
WORKER_LINES = (
    "The root node has connected",
    "NodeIndex",
    "Network is initialized",
    "Weights loaded",
    "RequiredMemory",
    "CPU: ",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`fault` on rank `victim` while rank `held` stands before `line`; a chat's root idles."""

    held: int
    line: str
    victim: int
    fault: str
    chat: bool = False

    def __str__(self) -> str:
        mode = "chat-" if self.chat else ""
        return f"{mode}{self.fault}-{self.victim}-at-{self.held}-{self.line.strip()}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How long the root (or, if it is the victim, its workers) took to end, and its words."""

    ended_s: float
    exit_code: int | None
    rank: int | None
    message: str
    log: str


def all_scenarios() -> Iterator[Scenario]:
    """Every fault on every rank at every line."""
    held_lines = [
        *((0, line, False) for line in (*ROOT_LINES, *LATE_ROOT_LINES)),
        *((0, line, True) for line in CHAT_LINES),
        *((rank, line, False) for rank in (1, 2) for line in WORKER_LINES),
        *((2, f"Socket[1]: {how}", False) for how in ("connecting", "connected")),
    ]
    for held, line, chat in held_lines:
        for victim in range(WORLD_SIZE):
            for fault in FAULTS:
                if victim or fault != "cut":  # every cable is one of a worker's
                    yield Scenario(held, line, victim, fault, chat)


class Cluster:
    """Two workers behind relays, whose processes carry a mark by which to find them all."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.folder, self.scenario = folder, scenario
        self.mark = uuid.uuid4().hex
        self.gate = folder / "gate"
        self.workers = {rank: self.start_worker(rank) for rank in (1, 2)}
        self.relays = {rank: Relay(node.port) for rank, node in self.workers.items()}

    def start(self, name: str, rank: int, *arguments: object) -> Node:
        """A rank of the campaign; the one that is to be held will be."""
        log_path, events_path = self.folder / f"{name}.log", self.folder / f"{name}.jsonl"
        line = self.scenario.line if rank == self.scenario.held else ""
        variables = {"FAULT_LINE": line, "FAULT_GATE": str(self.gate), "FAULT_MARK": self.mark}
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.engine.faults.gate"),
                    *map(str, (*arguments, "--events", events_path)),
                ],
                stdin=subprocess.PIPE if self.scenario.chat and rank == 0 else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "DLLAMA_PY_TOKEN": TOKEN, **variables},
            )
        return Node(process, log_path, events_path)

    def start_worker(self, rank: int, name: str = "worker") -> Node:
        parent = ("--exit-with-parent", os.getpid())
        return self.start(f"{name}{rank}", rank, "worker", "--port", 0, *parent)

    def start_root(self) -> Node:
        limits = ("--timeout", TIMEOUT_S, "--connect-timeout", TIMEOUT_S)
        workers = ("--workers", *(relay.address for relay in self.relays.values()))
        if self.scenario.chat:
            request = ["chat", *model_arguments(), "--chat-template", "llama2"]
        else:
            request = inference_arguments(steps=16)
        root = self.start("root", 0, *request, *limits, *workers)
        if root.process.stdin is not None:
            root.process.stdin.write(b"no system prompt\n")
            root.process.stdin.flush()
        return root

    def put_fault(self, root: Node) -> None:
        victim = self.workers.get(self.scenario.victim, root)
        match self.scenario.fault:
            case "kill":
                victim.process.kill()
                victim.process.wait()
            case "stop":
                victim.process.send_signal(signal.SIGSTOP)
            case "cut":
                self.relays[self.scenario.victim].cut()

    def left(self) -> list[int]:
        """Process ids of this scenario's, those included of which nobody knows."""
        found = []
        for folder in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                mark = f"FAULT_MARK={self.mark}".encode()
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        for node in self.workers.values():
            node.process.send_signal(signal.SIGCONT)
            node.stop(signal.SIGKILL)
        for relay in self.relays.values():
            relay.close()


@contextmanager
def cluster(folder: Path, scenario: Scenario) -> Iterator[Cluster]:
    made = Cluster(folder, scenario)
    try:
        yield made
    finally:
        made.close()


def run_scenario(folder: Path, scenario: Scenario, limit_s: float) -> Outcome:
    """Put the fault and check everything but the time that the end took.

    Raises:
        AssertionError: in words, what did not come as it must.
    """
    with cluster(folder, scenario) as made:
        root = made.start_root()
        try:
            reached = Path(f"{made.gate}.reached")
            wait_until(lambda: reached.exists() or root.process.poll() is not None, "the line")
            assert reached.exists(), f"the root ended before {scenario.line!r}: {root.log}"
            made.put_fault(root)
            start_s = time.monotonic()
            Path(f"{made.gate}.go").touch()
            if scenario.victim == 0:
                _await_sessions_end(made, limit_s)
            else:
                _await_end(root, limit_s)
            ended_s = time.monotonic() - start_s
        finally:
            root.process.kill()
            root.process.wait()
            if root.process.stdin is not None:
                root.process.stdin.close()
        outcome = _outcome(root, ended_s)
        if scenario.victim:
            _check_root(scenario, outcome)
        _check_survivors(made)
        made.close()
        wait_until(lambda: not made.left(), f"the end of the processes {made.left()}")
        return outcome


def _await_end(root: Node, limit_s: float) -> None:
    try:
        root.process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the root still runs after {limit_s:g} s: {root.log}") from None


def _await_sessions_end(made: Cluster, limit_s: float) -> None:
    """A root that is gone frees its workers, though it can tell them nothing."""
    until_s = time.monotonic() + limit_s
    for rank, worker in made.workers.items():
        while len(worker.events("session_start")) > len(worker.events("session_end")):
            assert time.monotonic() < until_s, f"worker {rank} still waits: {worker.log}"
            time.sleep(0.01)


def _outcome(root: Node, ended_s: float) -> Outcome:
    errors = root.events("error")
    error = errors[0] if errors else {"rank": None, "message": ""}
    return Outcome(ended_s, root.process.returncode, error["rank"], error["message"], root.log)


def _check_root(scenario: Scenario, outcome: Outcome) -> None:
    assert "Traceback" not in outcome.log, outcome.log
    if scenario.line in LATE_ROOT_LINES:
        assert outcome.exit_code == 0, outcome.log
        return
    assert outcome.exit_code == 1, outcome
    assert outcome.rank == scenario.victim, outcome
    assert f"worker {scenario.victim}" in outcome.message


def _check_survivors(made: Cluster) -> None:
    """Whoever lives serves the next root; a killed worker's place is taken by another."""
    killed = made.scenario.victim if made.scenario.fault == "kill" else 0
    if made.scenario.victim and made.scenario.fault == "stop":
        made.workers[made.scenario.victim].process.send_signal(signal.SIGCONT)
    if killed:
        made.workers[killed] = made.start_worker(killed, "another")
        Path(f"{made.gate}.go").touch()
    for node in made.workers.values():
        assert "Traceback" not in node.log, node.log
        wait_until(lambda port=node.port: _is_free(port), f"a free worker: {node.log}")
    serve(made, list(made.workers.values()))


def _is_free(port: int) -> bool:
    with suppress(HandshakeCut, OSError):
        return probe_worker("127.0.0.1", port, TOKEN.encode()).busy is None
    return False


def serve(made: Cluster, workers: Sequence[Node]) -> None:
    """The next root gets its answer."""
    limits = ("--timeout", 60, "--connect-timeout", 60)
    done = made.start("next", -1, *inference_arguments(workers, steps=8), *limits)
    assert done.wait() == 0, done.log
