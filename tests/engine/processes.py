"""Real root and worker processes for tests, and what they wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.data import MODELS as GOLDEN

TOKEN = "a token of the tests"
T = TypeVar("T")
GENEROUS_S = 180.0  # a busy machine that compiles first; only a failing test waits so long


def command(*arguments: object) -> list[str]:
    """A command line of `dllama-py`."""
    return [sys.executable, "-m", "dllama_engine.cli", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    own = {"DLLAMA_PY_TOKEN": TOKEN, "DLLAMA_PY_WEIGHT_CACHE": "off"}
    return {**os.environ, **own, **more}


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = GENEROUS_S) -> Any:
    """Look again and again; returns the first true value."""
    until_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < until_s, f"{what}: not within {timeout_s} s"
        time.sleep(0.01)
    return value


def runs(pid: int) -> bool:
    """Whether a process is there and is no zombie: a container's first process may reap none."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_events(path: Path) -> list[dict[str, Any]]:
    """All whole lines of an event file."""
    if not path.exists():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def in_a_quiet_moment(measure: Callable[[], T], is_undisturbed: Callable[[T], object]) -> T:
    """What was measured: again, a few times, while other programs took too much of the time.

    For what a quiet machine always shows and a wrong engine never does. The caller asserts it.
    """
    for _ in range(7):
        found = measure()
        if is_undisturbed(found):
            break
    return found


@dataclass
class Node:
    """A running process with its log and events."""

    process: subprocess.Popen[bytes]
    log_path: Path
    events_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.events_path) if event["event"] == name]

    def wait_event(self, name: str, count: int = 1) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            events = self.events(name)
            assert len(events) >= count or self.process.poll() is None, f"it ended: {self.log}"
            return events if len(events) >= count else []

        return dict(wait_until(found, f"event {name}")[count - 1])

    def wait_log(self, text: str) -> None:
        wait_until(lambda: text in self.log, f"{text!r} in the log")

    @property
    def port(self) -> int:
        return int(self.wait_event("listening")["port"])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self, signum: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(GENEROUS_S)


def start(folder: Path, name: str, *arguments: object, **more: str) -> Node:
    """Start `dllama-py` in the background."""
    log_path, events_path = folder / f"{name}.log", folder / f"{name}.jsonl"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command(*arguments, "--events", events_path),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(**more),
        )
    return Node(process, log_path, events_path)


def start_worker(folder: Path, name: str, *arguments: object, **more: str) -> Node:
    """Start a worker on a free port, which does not outlive a test run that is killed."""
    if "--exit-with-parent" not in arguments:
        arguments = ("--exit-with-parent", os.getpid(), *arguments)
    return start(folder, name, "worker", "--port", 0, *arguments, **more)


def run(*arguments: object, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run `dllama-py` to its end."""
    return subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        env=environment(**more),
        timeout=2 * GENEROUS_S,
        check=False,
    )


def model_arguments(name: str = "llama_q40") -> list[object]:
    return ["--model", GOLDEN / f"{name}.m", "--tokenizer", GOLDEN / "golden.t"]


def inference_arguments(
    workers: Sequence[Node] = (), *, name: str = "llama_q40", steps: int = 24, **flags: object
) -> list[object]:
    """Arguments of a greedy request on a golden model."""
    arguments = ["inference", *model_arguments(name), "--prompt", "hello world", "--steps", steps]
    arguments += ["--temperature", 0]
    if workers:
        arguments += ["--workers", *(worker.address for worker in workers)]
    for flag, value in flags.items():
        arguments += [f"--{flag.replace('_', '-')}", value]
    return arguments
