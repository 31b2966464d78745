"""`--requests N`: the same request again, each time in a session of its own by one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.processes import Node, inference_arguments, read_events, run, start_worker


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = start_worker(tmp_path_factory.mktemp("worker"), "worker")
    yield node
    node.stop()


def test_each_request_is_whole_and_gives_the_same_tokens(worker: Node, tmp_path: Path) -> None:
    events = tmp_path / "events"
    done = run(*inference_arguments([worker], steps=12, requests=3), "--events", events)
    assert done.returncode == 0, done.stderr
    found = read_events(events)
    starts = [n for n, event in enumerate(found) if event["event"] == "start"]
    assert len(starts) == 3
    streams = [found[n:end] for n, end in zip(starts, [*starts[1:], len(found) - 1], strict=True)]
    kept = ("start", "plan", "ready", "request", "step", "done", "rank", "network")
    names = [[e["event"] for e in stream if e["event"] in kept] for stream in streams]
    assert names[0] == names[1] == names[2]
    assert names[0].count("rank") == 2
    tokens = [[e["token_id"] for e in s if e["event"] == "step"] for s in streams]
    assert tokens[0] == tokens[1] == tokens[2]
    ranks = [[e["links"][0] for e in s if e["event"] == "rank"] for s in streams]
    sent = [[link["sent_payload_bytes"] for link in links] for links in ranks]
    assert sent[0] == sent[1] == sent[2]  # of one request, never of all before it
    assert found[-1]["event"] == "end"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trace", "x.json"], "--requests 2 is inference's, and --trace holds one request"),
        (["--mode-chat"], "--requests 2 is inference's, and chat has one run"),
    ],
)
def test_what_has_one_run_is_refused(words: list[str], message: str) -> None:
    arguments = inference_arguments(requests=2)
    if words == ["--mode-chat"]:
        arguments, words = ["chat", *arguments[1:]], []
    done = run(*arguments, *words)
    assert done.returncode == 2
    assert message in done.stderr
