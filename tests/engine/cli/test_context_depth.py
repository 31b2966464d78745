"""A context that is filled before the clock of a request starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dllama_engine.errors import RequestError
from dllama_engine.generation.generate import check_request
from tests.engine.processes import Node, inference_arguments, read_events, run, start_worker

Events = list[dict[str, Any]]
DEPTH = 70  # three batches of 32
STEPS = 12


@pytest.fixture(scope="module")
def worker(tmp_path_factory) -> Iterator[Node]:
    node = start_worker(tmp_path_factory.mktemp("worker"), "worker")
    yield node
    node.stop()


def _events(folder: Path, workers: list[Node], **flags: object) -> Events:
    path = folder / "events.jsonl"
    arguments = inference_arguments(workers, steps=STEPS, **flags)
    done = run(*arguments, "--events", path)
    assert done.returncode == 0, done.stderr
    return read_events(path)


def _tokens(events: Events) -> list[int]:
    return [e["token_id"] for e in events if e["event"] == "step" and e["phase"] == "decode"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory, worker: Node) -> Events:
    """Two nodes, at depth."""
    folder = tmp_path_factory.mktemp("filled")
    return _events(folder, [worker], context_depth=DEPTH, sync_mode="invariant")


def test_a_request_starts_behind_the_filled_positions(filled: Events) -> None:
    names = [event["event"] for event in filled]
    (request,) = (event for event in filled if event["event"] == "request")
    fills = [e for e in filled if e["event"] == "progress" and e["phase"] == "fill"]
    assert fills[-1]["done"] == fills[-1]["total"] == DEPTH
    assert fills[-1]["t_ns"] <= request["t_ns"]
    assert names.index("request") < names.index("step")
    steps = [event for event in filled if event["event"] == "step"]
    n_input = request["n_input_tokens"]
    assert [step["pos"] for step in steps] == [DEPTH, *range(DEPTH + n_input - 1, DEPTH + STEPS)]


def test_its_costs_are_nobodys(filled: Events) -> None:
    """Bytes and times of the filling are in no figure of the request."""
    steps = [event for event in filled if event["event"] == "step"]
    (network,) = (event for event in filled if event["event"] == "network")
    ranks = {event["rank"]: event for event in filled if event["event"] == "rank"}
    (link,) = network["links"]
    counted = [step["links"][0] for step in steps]
    payload = sum(c["sent_payload_bytes"] + c["recv_payload_bytes"] for c in counted)
    assert link["payload_bytes"] == payload
    assert sum(step["expected_payload_bytes"] for step in steps) == payload
    assert ranks[0]["compute_us"] == pytest.approx(sum(step["compute_us"] for step in steps))


def test_the_filled_context_is_read_alike_on_any_node_count(filled: Events, tmp_path) -> None:
    alone = _events(tmp_path, [], context_depth=DEPTH, sync_mode="invariant")
    assert _tokens(filled) == _tokens(alone)
    (tmp_path / "events.jsonl").unlink()
    assert _tokens(alone) != _tokens(_events(tmp_path, []))  # what stands before matters


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"context_depth": 255},
            "--context-depth fills 255 positions and the prompt has",
        ),
        ({"context_depth": -1}, "'-1': expected a whole number, 0 or more"),
    ],
)
def test_what_the_context_cannot_hold(flags: dict[str, object], message: str) -> None:
    done = run(*inference_arguments(steps=STEPS, **flags))
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_only_inference_fills() -> None:
    arguments = [*inference_arguments(context_depth=8)]
    arguments[0] = "perplexity"
    done = run(*arguments)
    assert done.returncode == 2
    assert "--context-depth is inference's; perplexity starts with an empty context" in done.stderr


@pytest.mark.parametrize(
    ("seq_len", "advice"),
    [(100, "shorten it or raise --max-seq-len, up to 256"), (256, "shorten it")],
)
def test_a_longer_context_is_advised_only_where_the_model_has_one(
    seq_len: int, advice: str
) -> None:
    with pytest.raises(RequestError) as refused:
        check_request(300, 400, seq_len, model_seq_len=256)
    assert str(refused.value) == (
        f"the prompt has 300 tokens, the context holds {seq_len}; {advice}"
    )
