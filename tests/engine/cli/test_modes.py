"""Inference, perplexity and chat as whole processes: tokens, texts and ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dllama_engine.formats.model_file import ModelFile
from tests.data import MODELS as GOLDEN
from tests.engine.cli.requests import of, request
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
