"""The event stream of `dllama-py inference`: every event, key, time and byte of it is true."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.data import MODELS as GOLDEN
from tests.engine.cli.requests import Events, of, request
from tests.engine.processes import (
    Node,
    inference_arguments,
    model_arguments,
    run,
)

pytestmark = pytest.mark.long

STEP_KEYS = {
    "event", "t_ns", "phase", "index", "pos", "n_tokens", "start_ns", "end_ns", "compute_us",
    "sync_us", "token_id", "piece", "top", "sync_durations_us", "links", "expected_payload_bytes",
}  # fmt: skip
LINK_COUNTS = (
    "sent_payload_bytes", "sent_framing_bytes", "recv_payload_bytes", "recv_framing_bytes",
    "sent_messages", "recv_messages",
)  # fmt: skip
KEYS = {
    "start": {"protocol", "version", "argv", "mode", "model", "world_size",
              "buffer_float_type", "sync_mode", "nthreads", "batch_size", "max_seq_len",
              "kv_type", "cpu", "pid", "ranks"},
    "plan": {"ranks", "decode_payload_bytes"},
    "collective": {"asked", "picks", "round_us", "message_us", "rate_mbps", "sizes",
                   "predicted_us", "overlap", "halves_from", "layer_us", "fan_us"},
    "ready": {"load_s", "links", "shares"},
    "request": {"prompt", "n_input_tokens", "input_ids", "steps", "temperature", "topp", "seed"},
    "done": {"n_input_tokens", "n_output_tokens", "prefill_s", "decode_s", "ttft_s", "rct_s",
             "finish_reason", "text"},
    "network": {"links", "ops"},
    "end": {"exit_code"},
}  # fmt: skip
RANK_KEYS = {
    "event", "t_ns", "rank", "role", "address", "hostname", "pid", "peak_rss_bytes",
    "peak_pss_bytes", "weight_bytes", "kv_cache_bytes", "compute_us", "sync_us", "links",
    "spans", "times", "tcp", "nics",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(
    workers: list[Node], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[str, Events]]:
    """The same f32 request on 1, 2, 3 and 4 nodes."""
    return {
        nodes: request(
            tmp_path_factory.mktemp(f"n{nodes}"),
            inference_arguments(
                workers[: nodes - 1], name="llama_f32", buffer_float_type="f32", nbatches=3
            ),
        )
        for nodes in (1, 2, 3, 4)
    }


def counts_of(event: dict[str, Any]) -> dict[tuple[int, str], int]:
    """(peer, what) -> what its links counted."""
    return {(link["peer"], name): link[name] for link in event["links"] for name in LINK_COUNTS}


def rehearsal(steps: list[dict[str, Any]]) -> dict[tuple[int, str], int]:
    """What crosses the root's links before any request: two tokens of a prompt, and one generated.

    Bytes of a prompt's batch grow by the same for each token.
    """
    one, other = (step for step in steps if step["phase"] == "prefill")
    less, more, decoded = counts_of(one), counts_of(other), counts_of(steps[-1])
    tokens, distance = one["n_tokens"], other["n_tokens"] - one["n_tokens"]
    return {
        key: less[key] + (more[key] - less[key]) // distance * (2 - tokens) + decoded[key]
        for key in less
    }


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
class TestEventStream:
    def test_events_come_in_order_with_all_their_keys(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        events = runs[nodes][1]
        names = [event["event"] for event in events if event["event"] != "progress"]
        counts = Counter(names)
        exchanging = ["collective"] if nodes > 1 else []
        assert list(dict.fromkeys(names)) == [
            *("start", "plan", *exchanging, "ready", "request", "step"),
            *("done", "rank", "network", "end"),
        ]
        assert counts["rank"] == nodes
        for event in events:
            if event["event"] in KEYS:
                assert set(event) == KEYS[event["event"]] | {"event", "t_ns"}
        assert {frozenset(step) for step in of(events, "step")} == {frozenset(STEP_KEYS)}
        assert {frozenset(rank) for rank in of(events, "rank")} == {frozenset(RANK_KEYS)}
        assert events[-1]["exit_code"] == 0
        loads = [event for event in of(events, "progress") if event["phase"] == "load"]
        assert loads[-1]["done"] == loads[-1]["total"] > 0

    def test_times_are_monotonic_and_steps_do_not_overlap(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        events = runs[nodes][1]
        times = [event["t_ns"] for event in events]
        assert times == sorted(times)
        last_ns = of(events, "request")[0]["t_ns"]
        for step in of(events, "step"):
            assert last_ns <= step["start_ns"] < step["end_ns"] <= step["t_ns"]
            assert step["compute_us"] > 0
            spent_us = step["compute_us"] + step["sync_us"]
            assert spent_us <= (step["end_ns"] - step["start_ns"]) / 1e3 + 1
            assert sum(map(sum, step["sync_durations_us"].values())) == pytest.approx(
                step["sync_us"]
            )
            last_ns = step["end_ns"]

    def test_steps_follow_dllamas_arithmetic(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        events = runs[nodes][1]
        (asked,), (done,) = of(events, "request"), of(events, "done")
        evals = [step for step in of(events, "step") if step["phase"] == "prefill"]
        preds = [step for step in of(events, "step") if step["phase"] == "decode"]
        n_prompt = asked["n_input_tokens"]
        assert len(asked["input_ids"]) == n_prompt
        assert sum(step["n_tokens"] for step in evals) == n_prompt - 1
        assert [step["n_tokens"] for step in evals] == [3, n_prompt - 4]  # --nbatches 3
        assert n_prompt - 1 + len(preds) == asked["steps"] == 24
        assert [step["pos"] for step in preds] == list(range(n_prompt - 1, 24))
        assert done["n_output_tokens"] == len(preds)
        assert done["finish_reason"] == "steps"
        assert done["text"].startswith("".join(step["piece"] for step in preds))
        assert 0 < done["ttft_s"] < done["rct_s"]
        for step in preds:
            (first, value), (_, second) = step["top"]
            assert first == step["token_id"]  # temperature 0
            assert value >= second

    def test_bytes_counted_equal_bytes_predicted(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        events = runs[nodes][1]
        steps = of(events, "step")
        for step in steps:
            counted = sum(
                link["sent_payload_bytes"] + link["recv_payload_bytes"] for link in step["links"]
            )
            assert counted == step["expected_payload_bytes"]
        planned = {
            (src, dst): (n_bytes, messages)
            for src, dst, n_bytes, messages in of(events, "plan")[0]["decode_payload_bytes"]
        }
        for link in steps[-1]["links"]:
            peer = link["peer"]
            assert (link["sent_payload_bytes"], link["sent_messages"]) == planned[0, peer]
            assert (link["recv_payload_bytes"], link["recv_messages"]) == planned[peer, 0]

    def test_steps_and_load_add_up_and_both_ends_agree(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        events = runs[nodes][1]
        sums: Counter[tuple[int, str]] = Counter()
        for event in of(events, "ready") + of(events, "step"):
            sums.update(counts_of(event))
        rehearsed = rehearsal(of(events, "step"))
        sums.update(rehearsed)
        ranks = {event["rank"]: event for event in of(events, "rank")}
        links = {
            (rank, link["peer"]): link for rank, event in ranks.items() for link in event["links"]
        }
        for (rank, peer), link in links.items():
            other = links[peer, rank]
            assert link["sent_payload_bytes"] == other["recv_payload_bytes"]
            assert link["sent_messages"] == other["recv_messages"]
            assert link["sent_framing_bytes"] == 8 * link["sent_messages"]
            if rank == 0:
                assert {name: sums[peer, name] for name in LINK_COUNTS} == {
                    name: link[name] for name in LINK_COUNTS
                }
        assert len(links) == nodes * (nodes - 1)
        for link in of(events, "network")[0]["links"]:
            counted = of(events, "rank")[0]["links"][link["peer"] - 1]
            loaded = of(events, "ready")[0]["links"][link["peer"] - 1]
            assert link["payload_bytes"] == sum(
                counted[name] - loaded[name] - rehearsed[link["peer"], name]
                for name in ("sent_payload_bytes", "recv_payload_bytes")
            )

    def test_every_process_tells_its_memory(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        events = runs[nodes][1]
        planned = of(events, "plan")[0]["ranks"]
        for rank, plan in zip(of(events, "rank"), planned, strict=True):
            assert rank["peak_rss_bytes"] > rank["weight_bytes"] > 0
            assert rank["kv_cache_bytes"] == plan["kv_cache_bytes"]
        assert len({rank["pid"] for rank in of(events, "rank")}) == nodes

    def test_tokens_are_the_same_on_any_node_count(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        ids = [
            [step["token_id"] for step in of(runs[n][1], "step") if step["phase"] == "decode"]
            for n in (1, nodes)
        ]
        assert ids[0] == ids[1]

    def test_printed_lines_are_dllamas(
        self, runs: dict[int, tuple[str, Events]], nodes: int
    ) -> None:
        text = runs[nodes][0]
        assert text.count("🔷️ Eval") == 2
        assert text.count("🔶 Pred") == 20
        assert "hello world\n🔷️ Eval" in text
        for line in ("💡 Arch: Llama", "📀 RequiredMemory:", "🧠 CPU:", "💿 Weights loaded"):
            assert line in text
        for line in ("\nEvaluation\n   nBatches: 3\n", "\nPrediction\n    nTokens: 20\n"):
            assert line in text
        network = ("📊 === Network", "⭕ Network is closed", f"mesh (nNodes={nodes})")
        assert [line in text for line in network] == [nodes > 1] * 3


def test_golden_greedy_ids_come_out_of_the_process(
    runs: dict[int, tuple[str, Events]], tmp_path: Path
) -> None:
    """The real dllama's greedy ids for the golden prompt."""
    expected = json.loads((GOLDEN / "expected.json").read_text())
    golden = expected["runs"]["llama_f32/n1"]
    n_steps = len(golden["input_ids"]) - 1 + len(golden["greedy_ids"])
    _, events = request(
        tmp_path,
        [
            "inference", *model_arguments("llama_f32"), "--buffer-float-type", "f32",
            "--prompt", expected["prompt"], "--steps", n_steps, "--temperature", 0,
        ],
    )  # fmt: skip
    assert of(events, "request")[0]["input_ids"] == golden["input_ids"]
    ids = [step["token_id"] for step in of(events, "step") if step["phase"] == "decode"]
    assert ids == golden["greedy_ids"]


# -- chat -----------------------------------------------------------------------------------------


def test_plan_as_json_agrees_with_the_plan_event(runs: dict[int, tuple[str, Events]]) -> None:
    done = run(
        "plan", "--model", GOLDEN / "llama_f32.m", "--nodes", 3, "--buffer-float-type", "f32",
        "--nbatches", 3, "--json",
    )  # fmt: skip
    plan = json.loads(done.stdout)
    (event,) = of(runs[3][1], "plan")
    assert plan["ranks"] == event["ranks"]
    assert plan["decode_payload_bytes"] == event["decode_payload_bytes"]
    assert plan["model"] == {
        name: value
        for name, value in of(runs[3][1], "start")[0]["model"].items()
        if name not in ("path", "size_bytes")
    }
