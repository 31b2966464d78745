"""`dllama-py` as a process: requests, chats, scores, and the event stream's truth."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dllama_engine.formats.model_file import ModelFile
from tests.data import MODELS as GOLDEN
from tests.engine.processes import (
    Node,
    command,
    environment,
    inference_arguments,
    model_arguments,
    read_events,
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

Events = list[dict[str, Any]]


def request(folder: Path, arguments: list[object]) -> tuple[str, Events]:
    """Run a request; its printed text and its events."""
    events = folder / "events.jsonl"
    done = run(*arguments, "--events", events)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, read_events(events)


def of(events: Events, name: str) -> Events:
    return [event for event in events if event["event"] == name]


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


def test_seeds_give_the_same_tokens_on_any_node_count(workers: list[Node], tmp_path: Path) -> None:
    ids = []
    for nodes in (1, 3):
        _, events = request(
            tmp_path,
            [
                "inference", *model_arguments("llama_f32"), "--buffer-float-type", "f32",
                "--prompt", "hello", "--steps", 20, "--temperature", 1.3, "--topp", 0.95,
                "--seed", 7, *(["--workers"] if nodes > 1 else []),
                *(worker.address for worker in workers[: nodes - 1]),
            ],
        )  # fmt: skip
        ids.append([step["token_id"] for step in of(events, "step")])
    assert ids[0] == ids[1]


def test_invariant_mode_gives_the_same_bits(workers: list[Node], tmp_path: Path) -> None:
    tops = []
    for count in (0, 2):
        _, events = request(
            tmp_path, inference_arguments(workers[:count], steps=10, sync_mode="invariant")
        )
        tops.append([step["top"] for step in of(events, "step")])
        for step in of(events, "step"):
            assert step["expected_payload_bytes"] == sum(
                link["sent_payload_bytes"] + link["recv_payload_bytes"] for link in step["links"]
            )
    assert tops[0] == tops[1]


def test_a_full_context_ends_with_a_message(tmp_path: Path) -> None:
    text, events = request(
        tmp_path, inference_arguments(steps=40, max_seq_len=16, kv_type="f16", nthreads=2)
    )
    assert "(end of context: 16 tokens, see --max-seq-len)" in text
    assert "💡 OrigSeqLen: 256\n💡 SeqLen: 16\n" in text
    (done,) = of(events, "done")
    assert done["finish_reason"] == "context"
    assert done["n_output_tokens"] == 16 - (done["n_input_tokens"] - 1)


def test_events_on_standard_output_leave_the_text_to_standard_error() -> None:
    done = run(*inference_arguments(steps=8), "--events", "-")
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "end"
    assert "🔶 Pred" in done.stderr


def test_perplexity_is_the_real_dllamas(workers: list[Node], tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    file = tmp_path / "text.txt"
    file.write_text(expected["prompt"], "utf-8")
    text, events = request(
        tmp_path,
        [
            "perplexity", *model_arguments("llama_f32"), "--buffer-float-type", "f32",
            "--file", file, "--nbatches", 16, "--workers", workers[0].address,
        ],
    )  # fmt: skip
    golden = expected["runs"]["llama_f32/n2"]
    n = len(golden["input_ids"]) - 1
    assert f"Evaluating {n + 1} tokens...\n" in text
    for index, probability in enumerate(golden["prob_of_next"], start=1):
        line = next(line for line in text.splitlines() if line.startswith(f"{index:5d} / {n}, "))
        assert float(line.split("prob=")[1]) == pytest.approx(probability, abs=2e-6)
    (done,) = of(events, "done")
    assert done["perplexity"] == pytest.approx(golden["perplexity"], rel=1e-4)
    assert f"   perplexity: {done['perplexity']:f} (lower = better)\n" in text
    assert [step["n_tokens"] for step in of(events, "step")] == [16, 16, n - 32]
    for step in of(events, "step"):
        assert step["expected_payload_bytes"] == sum(
            link["sent_payload_bytes"] + link["recv_payload_bytes"] for link in step["links"]
        )


# -- chat -----------------------------------------------------------------------------------------


def test_chat_answers_turns_until_the_context_is_full(workers: list[Node], tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    done = run(
        "chat", *model_arguments(), "--chat-template", "llama2", "--temperature", 0,
        "--max-seq-len", 90, "--events", events, "--workers", workers[0].address,
        stdin="be kind\nhello\n\nand you\nthe wind\n" + "more\n" * 50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("🤖 Assistant") >= 1
    assert "💻 System prompt (optional): " in done.stdout
    assert "👱 User\n> " in done.stdout
    assert "(end of context)" in done.stdout
    positions = [(step["pos"], step["n_tokens"]) for step in of(read_events(events), "step")]
    at = 0
    for pos, n_tokens in positions:  # every position once: the history stays in the cache
        assert pos == at
        at += n_tokens
    assert at == 90


def test_chat_ends_with_its_input() -> None:
    done = run("chat", *model_arguments(), "--chat-template", "llama3", stdin="")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_ends_quietly(workers: list[Node]) -> None:
    process = subprocess.Popen(
        command(*inference_arguments(workers[:1], steps=250)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    done = run(*inference_arguments(workers[:1], steps=8))
    assert done.returncode == 0


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_scale_that_is_not_finite_is_told_with_its_file_and_tensor(
    workers: list[Node], tmp_path: Path, n_workers: int
) -> None:
    damaged = tmp_path / "damaged.m"
    with ModelFile.open(GOLDEN / "llama_q40.m") as model:
        spec = next(s for s in model.specs if s.name == "block_matmul_w1" and s.layer == 2)
    data = bytearray((GOLDEN / "llama_q40.m").read_bytes())
    at = spec.offset + spec.nbytes - 18  # the last row's, so of the last rank
    data[at : at + 2] = b"\x00\x7c"  # infinity
    damaged.write_bytes(data)
    done = run(
        *("inference", "--model", damaged, "--tokenizer", GOLDEN / "golden.t", "--steps", 9),
        *("--prompt", "Hello", *(("--workers", workers[0].address) if n_workers else ())),
    )
    assert done.returncode == 1
    assert f"Critical error: {damaged}: " in done.stderr
    assert "tensor block_matmul_w1, layer 2: holds a scale or value that is not" in done.stderr
    assert (f"worker 1 at {workers[0].address}" in done.stderr) == bool(n_workers)


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
