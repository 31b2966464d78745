"""Any order of faults: whatever has happened before, the next root gets the reference tokens.

hypothesis draws the orders and shrinks one that fails. A few short ones by default; more with
FAULT_EXAMPLES=50.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.wire.connecting import handshake
from tests.engine.processes import (
    Node,
    inference_arguments,
    read_events,
    run,
    start,
    start_worker,
)

EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "3"))
STEPS = 8
SAME_BITS = ("--sync-mode", "invariant")
# A token takes a few ms: of a smaller one 30 000 are generated within seconds.
LONG_SHAPE = (
    "dim=64,n_layers=2,n_heads=4,hidden_dim=262144,vocab_size=512,seq_len=32768,weight_type=q40"
)
RANKS = st.sampled_from([1, 2])
STRANGERS = st.one_of(
    st.binary(max_size=200),
    st.just(b"GET / HTTP/1.1\r\n\r\n"),
    st.binary(max_size=80).map(lambda data: handshake._OURS + data),  # as far as it knows us
    st.just(b""),
)


def tokens(events: Path) -> list[int]:
    steps = [event for event in read_events(events) if event["event"] == "step"]
    return [step["token_id"] for step in steps if step["token_id"] is not None]


@cache
def reference() -> list[int]:
    """What one node says."""
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.jsonl"
        done = run(*inference_arguments(steps=STEPS), *SAME_BITS, "--events", events)
        assert done.returncode == 0, done.stderr
        return tokens(events)


class Faults(RuleBasedStateMachine):
    """Two workers that live as long as the example, and whatever befalls them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="faults-")
        self.folder = Path(self._folder.name)
        self.n_started = 0
        self.stopped: set[int] = set()
        self.root: Node | None = None
        model, tokenizer = write_synthetic(LONG_SHAPE, self.folder)
        files = ("--model", model, "--tokenizer", tokenizer)
        self.long = ["inference", *files, "--prompt", "hello", "--steps", 30000]
        self.workers = {rank: self.new_worker() for rank in (1, 2)}

    def new_worker(self) -> Node:
        return start_worker(self.folder, self.new_name("worker"))

    def new_name(self, kind: str) -> str:
        self.n_started += 1
        return f"{kind}{self.n_started}"

    @precondition(lambda self: self.root is None)
    @rule(waits=st.booleans())
    def start_root(self, waits: bool) -> None:
        """A request that takes long; with or without waiting until it decodes."""
        self.root = self.start_long()
        if waits and not self.stopped:
            self.root.wait_event("step", 3)

    def start_long(self) -> Node:
        limits = ("--timeout", 2, "--connect-timeout", 1)
        addresses = [worker.address for worker in self.workers.values()]
        return start(
            self.folder, self.new_name("root"), *self.long, *limits, "--workers", *addresses
        )

    @precondition(lambda self: self.root is not None)
    @rule()
    def second_root(self) -> None:
        """It is refused, or has the workers if the first one has just ended."""
        second = self.start_long()
        second.process.send_signal(signal.SIGTERM)
        second.wait()

    @precondition(lambda self: self.root is not None)
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
    def end_root(self, number: signal.Signals) -> None:
        assert self.root is not None
        self.root.stop(number)
        self.root = None

    @precondition(lambda self: self.root is not None)
    @rule()
    def stop_root(self) -> None:
        assert self.root is not None
        self.root.process.send_signal(signal.SIGSTOP)

    @rule(rank=RANKS)
    def kill_worker(self, rank: int) -> None:
        """Somebody starts another one in its place."""
        self.workers[rank].stop(signal.SIGKILL)
        self.stopped.discard(rank)
        self.workers[rank] = self.new_worker()

    @rule(rank=RANKS)
    def stop_worker(self, rank: int) -> None:
        self.workers[rank].port  # noqa: B018 - it listens by now
        self.workers[rank].process.send_signal(signal.SIGSTOP)
        self.stopped.add(rank)

    @precondition(lambda self: self.stopped)
    @rule()
    def go_on(self) -> None:
        for rank in self.stopped:
            self.workers[rank].process.send_signal(signal.SIGCONT)
        self.stopped.clear()

    @rule(rank=RANKS, data=STRANGERS, stays=st.booleans())
    def stranger(self, rank: int, data: bytes, stays: bool) -> None:
        """Port scanners, browsers and half a handshake."""
        address = ("127.0.0.1", self.workers[rank].port)
        with suppress(OSError), socket.create_connection(address, 5) as sock:
            sock.sendall(data)
            if stays and rank not in self.stopped:
                sock.settimeout(0.05)
                sock.recv(100)

    @rule()
    def next_root(self) -> None:
        """The invariant."""
        if self.root is not None:
            self.root.stop(signal.SIGKILL)
            self.root = None
        self.go_on()
        workers = list(self.workers.values())
        events = self.folder / f"{self.new_name('next')}.jsonl"
        done = run(
            *inference_arguments(workers, steps=STEPS), *SAME_BITS,
            "--connect-timeout", 120, "--timeout", 120, "--events", events,
        )  # fmt: skip
        logs = "\n".join(worker.log for worker in workers)
        assert done.returncode == 0, f"{done.stderr}\n{logs}"
        assert tokens(events) == reference()
        assert "Traceback" not in logs

    def teardown(self) -> None:
        try:
            self.next_root()
        finally:
            for worker in self.workers.values():
                worker.process.send_signal(signal.SIGCONT)
                worker.stop(signal.SIGKILL)
            if self.root is not None:
                self.root.stop(signal.SIGKILL)
            self._folder.cleanup()


def test_the_next_root_gets_the_reference_tokens_whatever_has_happened() -> None:
    run_state_machine_as_test(
        Faults,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=6,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
