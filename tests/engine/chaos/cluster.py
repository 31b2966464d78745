"""Three ranks behind chaos relays: a session a fault, and what must come of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dllama_engine.wire.connecting.handshake import HandshakeCut, HandshakeError, probe_worker
from tests.engine.chaos.emulated import EmulatedLinks
from tests.engine.chaos.faults import HARMLESS, OF_BYTES, TIMEOUT_S, Link, Plan
from tests.engine.chaos.relay import ChaosRelay
from tests.engine.processes import TOKEN, Node, inference_arguments, wait_until

LITTLE_S = 2.0  # beyond the timeout
PATIENT_S = 180.0  # a busy machine may take long
STEPS = 8
FLAGS = ("--sync-mode", "invariant", "--local-weights", "send", "--connect-timeout", TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session with a fault ended, in one word, and how long after the fault."""

    word: str
    ended_s: float
    message: str = ""
    rank: int | None = None


class ChaosCluster:
    """Two workers that live on from fault to fault, and their relays."""

    def __init__(self, folder: Path, *, emulated: bool = False) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        self._n_started = 0
        self._due: Plan | None = None
        self._fault_s = 0.0
        self._is_put = threading.Event()
        self.root: Node | None = None
        self.workers = {rank: self._start_worker(rank) for rank in (1, 2)}
        self.relays = {
            rank: ChaosRelay(rank, node.port, self._put) for rank, node in self.workers.items()
        }
        self._emulated = EmulatedLinks(folder, 1 + len(self.workers)) if emulated else None
        self._lead()
        self.counts: Counter[tuple[Link, str]] = Counter()
        self.reference: list[int] = []

    # -- processes ----------------------------------------------------------------------------

    def _start(self, name: str, *arguments: object) -> Node:
        self._n_started += 1
        log_path = self.folder / f"{name}.{self._n_started}.log"
        events_path = log_path.with_suffix(".jsonl")
        command = (sys.executable, "-m", "dllama_engine.cli", *arguments, "--events", events_path)
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # by which emulated links know who dials
                env={**os.environ, "DLLAMA_PY_TOKEN": TOKEN, "FAULT_MARK": self.mark},
            )
        return Node(process, log_path, events_path)

    def _start_worker(self, rank: int) -> Node:
        parent = ("--exit-with-parent", os.getpid())
        return self._start(f"worker{rank}", "worker", "--port", 0, "--weight-cache", "off", *parent)

    def _lead(self) -> None:
        """The doors of emulated links lead to the chaos relays, and these to the workers."""
        if self._emulated is not None:
            ports = {rank: relay.listens for rank, relay in self.relays.items()}
            pids = {rank: node.process.pid for rank, node in self.workers.items()}
            self._emulated.lead(ports, pids)

    def _addresses(self) -> list[str]:
        """Where each worker is to be dialed."""
        doors = self._emulated.doors if self._emulated is not None else {}
        return [f"127.0.0.1:{doors.get(r, relay.listens)}" for r, relay in self.relays.items()]

    def _start_root(self, timeout_s: float) -> Node:
        request = inference_arguments(steps=STEPS, overlap="on")  # two exchanges are under way
        return self._start(
            "root", *request, *FLAGS, "--timeout", timeout_s, "--workers", *self._addresses()
        )

    def left(self) -> list[int]:
        """Processes of this cluster's, those included of which nobody knows."""
        found = []
        mark = f"FAULT_MARK={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        """End all; nobody may be left.

        Raises:
            AssertionError: somebody is.
        """
        for node in (*self.workers.values(), *([self.root] if self.root else [])):
            node.process.send_signal(signal.SIGCONT)
            node.stop(signal.SIGKILL)
        for relay in self.relays.values():
            relay.close()
        if self._emulated is not None:
            self._emulated.close()
        wait_until(lambda: not self.left(), f"the end of the processes {self.left()}")

    # -- sessions -----------------------------------------------------------------------------

    def calibrate(self) -> None:
        """A session without faults: its tokens, and what crosses each link in it."""
        self.serve()
        for relay in self.relays.values():
            self.counts += relay.counts

    def serve(self) -> None:
        """The next root gets the reference tokens (the first one makes them).

        Raises:
            AssertionError: it does not.
        """
        for relay in self.relays.values():
            relay.begin(None)
        root = self._start_root(PATIENT_S)
        try:
            assert root.wait() == 0, f"the next root: {root.log}"
        finally:
            root.stop(signal.SIGKILL)
        self.reference = self.reference or tokens(root)
        assert tokens(root) == self.reference, f"other tokens: {tokens(root)}"

    def put(self, plan: Plan) -> Outcome:
        """A session with a fault, and all that must hold after it but the time it took.

        Raises:
            AssertionError: in words, what did not come as it must.
        """
        self._due, self._fault_s = plan, 0.0
        self._is_put.clear()
        for relay in self.relays.values():
            relay.begin(plan)
        self.root = self._start_root(TIMEOUT_S)
        try:
            outcome = self._root_outcome(plan) if plan.victim != 0 else self._workers_outcome()
        finally:
            self.root.process.kill()
            self.root.process.wait()
        self._free_workers(plan)
        return outcome

    def _put(self, plan: Plan) -> None:
        """The relay has come to the fault's unit."""
        self._fault_s = time.monotonic()
        victim = self.root if plan.victim == 0 else self.workers.get(plan.victim or 0)
        if victim is not None and plan.victim is not None:
            victim.process.send_signal(signal.SIGKILL if plan.kind == "kill" else signal.SIGSTOP)
        self._is_put.set()

    def _root_outcome(self, plan: Plan) -> Outcome:
        assert self.root is not None
        root = self.root
        try:
            code = root.process.wait(PATIENT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the root still runs after {PATIENT_S:g} s: {root.log}") from None
        ended_s = time.monotonic() - (self._fault_s or time.monotonic())
        assert "Traceback" not in root.log, root.log
        if code == 0:
            assert tokens(root) == self.reference, f"other tokens: {tokens(root)}"
            return Outcome("done" if self._is_put.is_set() else "not met", ended_s)
        (error,) = root.events("error")
        rank, message = error["rank"], error["message"]
        assert code == 1, root.log
        assert plan.kind not in HARMLESS, f"given up for nothing: {message}"
        assert rank in plan.culprits, f"blames rank {rank}: {message}"
        self._check_words(rank, message)
        if plan.kind not in OF_BYTES:  # what was printed before is right
            said = tokens(root)
            assert said == self.reference[: len(said)], f"other tokens: {said}"
        return Outcome("named", ended_s, message, rank)

    def _check_words(self, rank: int, message: str) -> None:
        """Who, where, in which operation or of what kind, and after how long if it was a wait."""
        assert f"worker {rank}" in message, message
        assert re.search(r"127\.0\.0\.1:\d+", message), message
        if "no progress" in message or "no sign" in message or "not answer" in message:
            assert re.search(r"(for|within) [\d.]+ s", message), message

    def _workers_outcome(self) -> Outcome:
        """The root is the victim: its workers must be free in time."""
        assert self.root is not None
        root = self.root
        wait_until(lambda: self._is_put.is_set() or root.process.poll() is not None, "the fault")
        if not self._is_put.is_set():
            assert tokens(root) == self.reference, root.log
            return Outcome("not met", 0.0)
        for rank, worker in self.workers.items():
            wait_until(
                lambda worker=worker: (
                    len(worker.events("session_start")) <= len(worker.events("session_end"))
                ),
                f"the session's end on worker {rank}", PATIENT_S,
            )  # fmt: skip
        return Outcome("freed", time.monotonic() - self._fault_s)

    def _free_workers(self, plan: Plan) -> None:
        """Whoever lives is ready for the next root; a killed worker's place is taken."""
        victim = plan.victim or 0
        for relay in self.relays.values():
            relay.begin(None)
        if victim and plan.kind == "stop":
            self.workers[victim].process.send_signal(signal.SIGCONT)
        if victim and plan.kind == "kill" and self._is_put.is_set():
            self.workers[victim].process.wait()
            self.workers[victim] = self._start_worker(victim)
            self.relays[victim].port = self.workers[victim].port
            self._lead()
        for rank, node in self.workers.items():
            assert "Traceback" not in node.log, node.log
            assert node.process.poll() is None, f"worker {rank} has ended: {node.log}"
            wait_until(
                lambda port=node.port: _is_free(port), f"a free worker {rank}: {node.log}",
                PATIENT_S,
            )  # fmt: skip


def tokens(node: Node) -> list[int]:
    return [step["token_id"] for step in node.events("step") if step["token_id"] is not None]


def _is_free(port: int) -> bool:
    with suppress(HandshakeCut, HandshakeError, OSError):
        return probe_worker("127.0.0.1", port, TOKEN.encode()).busy is None
    return False
