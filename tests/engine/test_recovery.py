"""What a root does about lost workers: the tokens are those of a run without the loss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dllama_engine.cli.flags import parsing
from tests.data import ROOT
from tests.engine.processes import (
    Node,
    command,
    environment,
    inference_arguments,
    run,
    start_worker,
    wait_until,
)

STEPS = 12
SAME_BITS = ("--sync-mode", "invariant")
LIMITS = ("--timeout", 20, "--connect-timeout", 60)


def tokens(node: Node) -> list[int]:
    return [step["token_id"] for step in node.events("step") if step["token_id"] is not None]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """What one node says."""
    events = tmp_path_factory.mktemp("reference") / "root.jsonl"
    done = run(*inference_arguments(steps=STEPS), *SAME_BITS, "--events", events)
    assert done.returncode == 0, done.stderr
    return tokens(Node(None, events, events))  # type: ignore[arg-type]


def held_root(folder: Path, line: str, *arguments: object) -> Node:
    """A root that stands before the first line that contains `line`, until `folder`/gate.go."""
    log_path, events_path = folder / "root.log", folder / "root.jsonl"
    gate = {"FAULT_LINE": line, "FAULT_GATE": str(folder / "gate")}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.engine.faults.gate"),
                *map(str, (*arguments, "--events", events_path)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(**gate),
        )
    root = Node(process, log_path, events_path)
    wait_until(lambda: (folder / "gate.reached").exists() or process.poll() is not None, "the line")
    assert process.poll() is None, root.log
    return root


def go_on(folder: Path, root: Node) -> None:
    (folder / "gate.go").touch()
    assert root.wait() == 0, root.log


def test_a_killed_worker_returns_and_the_request_is_replayed(
    tmp_path: Path, reference: list[int]
) -> None:
    workers = [start_worker(tmp_path, f"worker{rank}") for rank in (1, 2)]
    port, again = workers[0].port, None
    request = inference_arguments(workers, steps=STEPS)
    asked = ("--collective", "auto", "--trace", tmp_path / "trace.json", "--retry-lost", 1)
    root = held_root(tmp_path, "Pred ", *request, *SAME_BITS, *LIMITS, *asked)
    try:
        workers[0].stop(signal.SIGKILL)
        again = start_worker(tmp_path, "again", "--port", port, "--exit-with-parent", os.getpid())
        go_on(tmp_path, root)
    finally:
        for node in (root, *workers, *([again] if again else [])):
            node.stop(signal.SIGKILL)
    assert tokens(root) == reference
    (lost,), (recovered,) = root.events("lost"), root.events("recovered")
    assert (lost["rank"], lost["address"], lost["remedy"]) == (1, f"127.0.0.1:{port}", "replay")
    assert recovered["world_size"] == 3
    assert recovered["replayed_steps"] >= 1
    assert f"🔁 Lost: worker 1 at 127.0.0.1:{port}" in root.log
    assert "on 3 nodes" in root.log
    assert "the tokens are those of a run without the loss" in root.log
    assert [rank["rank"] for rank in root.events("rank")] == [0, 1, 2]
    (told,) = root.events("collective")
    serves = ",".join(name if n == 1 else f"{name}@{n}" for n, name in told["picks"])
    traced = json.loads((tmp_path / "trace.json").read_text())["otherData"]
    assert traced["collective"] == serves  # what was probed before the loss, by name


def test_those_that_are_left_go_on_without_the_lost_one(
    tmp_path: Path, reference: list[int]
) -> None:
    workers = [start_worker(tmp_path, f"worker{rank}") for rank in (1, 2)]
    request = inference_arguments(workers, steps=STEPS)
    root = held_root(tmp_path, "Pred ", *request, *SAME_BITS, *LIMITS, "--shrink")
    try:
        workers[0].stop(signal.SIGKILL)
        go_on(tmp_path, root)
        assert "Traceback" not in workers[1].log
    finally:
        for node in (root, *workers):
            node.stop(signal.SIGKILL)
    assert tokens(root) == reference
    (lost,), (recovered,) = root.events("lost"), root.events("recovered")
    assert (lost["rank"], lost["remedy"], recovered["world_size"]) == (1, "shrink", 2)
    assert f"🔁 Going on without {workers[0].address}: the model is split anew" in root.log
    assert [len(plan["ranks"]) for plan in root.events("plan")] == [3, 2]
    assert [rank["rank"] for rank in root.events("rank")] == [0, 1]
    (network,) = root.events("network")
    (link,) = network["links"]
    (own,) = (rank for rank in root.events("rank") if rank["rank"] == 0)
    (count,) = own["links"]
    framed = sum(count[f"{way}_{part}_bytes"] for way in ("sent", "recv")
                 for part in ("payload", "framing"))  # fmt: skip
    assert 0 < link["sent_bytes"] + link["recv_bytes"] <= framed


def test_a_worker_that_does_not_return_ends_the_request(tmp_path: Path) -> None:
    worker = start_worker(tmp_path, "worker")
    request = inference_arguments([worker], steps=STEPS)
    limits = ("--timeout", 4, "--connect-timeout", 60)
    root = held_root(tmp_path, "Pred ", *request, *limits, "--retry-lost", 3)
    try:
        worker.stop(signal.SIGKILL)
        (tmp_path / "gate.go").touch()
        assert root.wait() == 1, root.log
    finally:
        root.stop(signal.SIGKILL)
    (error,) = root.events("error")
    assert (error["type"], error["rank"]) == ("WorkerLost", 1)
    assert f"{worker.address} did not serve again within 4 s" in error["message"]


def chat(folder: Path, name: str, workers: list[Node], *flags: object) -> Node:
    """A root that waits for a question, its standard input a pipe."""
    log_path, events_path = folder / f"{name}.log", folder / f"{name}.jsonl"
    addresses = [worker.address for worker in workers]
    arguments = [
        # Its answers end by themselves: a golden model's fills the context, and the chat is over.
        *("chat", "--model", "tiny", "--chat-template", "llama2"),
        *("--temperature", 0, *SAME_BITS, *LIMITS, *flags, "--events", events_path),
        *(("--workers", *addresses) if workers else ()),
    ]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command(*arguments), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            env=environment(),
        )  # fmt: skip
    root = Node(process, log_path, events_path)
    ask(root, "")
    ask(root, "hello")
    root.wait_event("done")
    return root


def ask(root: Node, question: str) -> None:
    assert root.process.stdin is not None
    root.process.stdin.write(f"{question}\n".encode())
    root.process.stdin.flush()


def end_chat(root: Node) -> list[int]:
    """A second question; returns all tokens once the chat has ended."""
    ask(root, "and then?")
    assert root.process.stdin is not None
    root.process.stdin.close()
    assert root.wait() == 0, root.log
    return tokens(root)


def test_a_chat_goes_on_though_its_worker_dies_while_the_user_thinks(tmp_path: Path) -> None:
    worker, again = start_worker(tmp_path, "worker"), None
    port = worker.port
    nodes = [worker, chat(tmp_path, "whole", [])]
    try:
        undisturbed = end_chat(nodes[1])
        root = chat(tmp_path, "root", [worker], "--retry-lost", 1)
        nodes.append(root)
        worker.stop(signal.SIGKILL)
        root.wait_event("lost")
        again = start_worker(tmp_path, "again", "--port", port, "--exit-with-parent", os.getpid())
        nodes.append(again)
        assert end_chat(root) == undisturbed
    finally:
        for node in nodes:
            node.stop(signal.SIGKILL)
    assert len(root.events("recovered")) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--retry-lost", "1"], "--retry-lost is about lost workers; name them with --workers"),
        (["--shrink"], "--shrink is about lost workers"),
        (["--shrink", "--workers", "h:1"], "--shrink needs --sync-mode invariant: with reduce"),
        (["--retry-lost", "-1", "--workers", "h:1"], "expected a whole number, 0 or more"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parsing.parse(["inference", "--model", "m", "--prompt", "x", "--steps", "3", *flags])
    assert end.value.code == 2
    assert words in capsys.readouterr().err
