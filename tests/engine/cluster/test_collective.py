"""Real processes that exchange by each collective: the same tokens, what is said, what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.processes import Node, inference_arguments, read_events, run

NAMES = ["mesh", "two-shot", "star", "ring", "doubling", "gather-bcast"]


def infer(
    workers: list[Node], folder: Path, **flags: object
) -> tuple[str, list[dict[str, Any]], list[int]]:
    """What four nodes print, tell and generate."""
    events_path = folder / "events.jsonl"
    done = run(*inference_arguments(workers, events=events_path, **flags))
    assert done.returncode == 0, done.stderr
    events = read_events(events_path)
    ids = [e["token_id"] for e in events if e["event"] == "step" and e["phase"] == "decode"]
    return done.stdout, events, ids


@pytest.fixture(scope="module")
def mesh_ids(workers: list[Node], tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    return infer(workers, tmp_path_factory.mktemp("mesh"), sync_mode="invariant")[2]


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_and_bytes_of_each(
    name: str, workers: list[Node], mesh_ids: list[int], tmp_path: Path
) -> None:
    """Every step's bytes on the root's sockets, link by link, are those that the plan told."""
    out, events, ids = infer(workers, tmp_path, collective=name, sync_mode="invariant")
    assert ids == mesh_ids
    assert f"📡 Collective: {name} (nNodes=4)\n" in out
    (told,) = of_kind(events, "collective")
    assert (told["asked"], told["picks"]) == (name, [[1, name]])
    assert told["round_us"] is None
    (plan,) = of_kind(events, "plan")
    planned = {(s, d): (size, n) for s, d, size, n in plan["decode_payload_bytes"]}
    steps = of_kind(events, "step")
    assert steps
    for step in steps:
        counted = sum(e["sent_payload_bytes"] + e["recv_payload_bytes"] for e in step["links"])
        assert counted == step["expected_payload_bytes"]
        for link in step["links"] if step["phase"] == "decode" else ():
            peer = link["peer"]
            assert (link["sent_payload_bytes"], link["sent_messages"]) == planned[0, peer]
            assert (link["recv_payload_bytes"], link["recv_messages"]) == planned[peer, 0]


def test_a_prompt_in_halves_is_the_same_in_twice_as_many_messages(
    workers: list[Node], mesh_ids: list[int], tmp_path: Path
) -> None:
    flags = {"overlap": "on", "sync_mode": "invariant"}
    out, events, ids = infer(workers, tmp_path, **flags)
    assert ids == mesh_ids
    assert (
        "📡 Collective: mesh (nNodes=4)\n📡 Overlap: batches of 2 tokens and more go in halves, "
        "one sent while the other is computed\n"
    ) in out
    (told,) = of_kind(events, "collective")
    assert (told["overlap"], told["halves_from"], told["picks"]) == ("on", 2, [[1, "mesh"]])
    (plan,) = of_kind(events, "plan")
    planned = {(s, d): n for s, d, _, n in plan["decode_payload_bytes"]}
    steps = of_kind(events, "step")
    prompt = next(step for step in steps if step["phase"] == "prefill")
    assert prompt["n_tokens"] > 1
    for step in steps:
        counted = sum(e["sent_payload_bytes"] + e["recv_payload_bytes"] for e in step["links"])
        assert counted == step["expected_payload_bytes"]
    for link in prompt["links"]:
        peer = link["peer"]
        in_layers = planned[peer, 0] - 1  # a decoded token's, without its logits
        assert link["sent_messages"] == 2 * in_layers + 1  # and the root's broadcast
        assert link["recv_messages"] == 2 * in_layers


def test_several_serve_as_they_are_asked_for(
    workers: list[Node], mesh_ids: list[int], tmp_path: Path
) -> None:
    flags = {"collective": "mesh+ring@3", "overlap": "on@5", "sync_mode": "invariant"}
    out, events, ids = infer(workers, tmp_path, **flags)
    assert ids == mesh_ids
    assert "📡 Collective: mesh (nNodes=4), ring from 3 tokens on\n" in out
    assert "📡 Overlap: batches of 5 tokens and more go in halves, one sent" in out
    (told,) = of_kind(events, "collective")
    assert (told["asked"], told["overlap"]) == ("mesh,ring@3", "on@5")
    assert (told["picks"], told["halves_from"]) == ([[1, "mesh"], [3, "ring"]], 5)
    for step in of_kind(events, "step"):
        counted = sum(e["sent_payload_bytes"] + e["recv_payload_bytes"] for e in step["links"])
        assert counted == step["expected_payload_bytes"]
        sent_to = [e["peer"] for e in step["links"] if e["sent_messages"] > 1]
        if step["phase"] == "decode":  # the mesh's: to everybody
            assert sent_to == [1, 2, 3]


def test_what_a_request_picked_serves_the_next_ones(workers: list[Node], tmp_path: Path) -> None:
    events = infer(workers, tmp_path, collective="auto", overlap="auto", requests=2)[1]
    first, second = of_kind(events, "collective")
    assert first["asked"] == first["overlap"] == "auto"
    assert (second["picks"], second["halves_from"]) == (first["picks"], first["halves_from"])
    assert "auto" not in (second["asked"], second["overlap"])
    assert second["round_us"] is None  # not probed again


@pytest.mark.parametrize("name", ["two-shot", "star", "ring"])
def test_a_second_cast_is_said(name: str, workers: list[Node], tmp_path: Path) -> None:
    out = infer(workers, tmp_path, collective=name)[0]
    assert "📡 Sums are cast a second time: the last bits of x differ from the mesh's\n" in out


def test_auto_says_what_and_why(workers: list[Node], tmp_path: Path) -> None:
    out, events, _ = infer(workers, tmp_path, collective="auto", overlap="auto")
    (told,) = of_kind(events, "collective")
    assert told["asked"] == "auto"
    assert told["round_us"] > 0
    assert set(told["predicted_us"]) == set(NAMES)
    assert told["sizes"] == [1, 32]
    assert f"📡 Collective: {told['picks'][0][1]} (nNodes=4)" in out
    whole_us, halves_us = told["layer_us"]
    assert f"us by the model: whole {whole_us:.0f}, in halves {halves_us:.0f}\n" in out
    assert (told["halves_from"] is None) == (halves_us > 0.9 * whole_us)
    assert "📡 Probed: a round takes " in out
    assert f"; to the root or back {told['fan_us']:.0f} us\n" in out
    assert "📡 An exchange of 1 token, in us by the model: " in out
    picked = ",".join(name if n == 1 else f"{name}@{n}" for n, name in told["picks"])
    halves = {None: "", 2: " --overlap on"}
    overlap = halves.get(told["halves_from"], f" --overlap on@{told['halves_from']}")
    assert f"📡 The same without a probe: --collective {picked}{overlap}\n" in out
    plans = of_kind(events, "plan")
    assert len(plans) == 2  # as it was before the choice, and as it serves
    serving = {(s, d): n for s, d, _, n in plans[-1]["decode_payload_bytes"]}
    step = [e for e in of_kind(events, "step") if e["phase"] == "decode"][-1]
    for link in step["links"]:
        assert link["sent_messages"] == serving[0, link["peer"]]
