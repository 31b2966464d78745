"""`dllama-py` told something that cannot be: one line, an exit code, an event."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dllama_engine.synthetic.model import write_synthetic
from tests.data import MODELS as GOLDEN
from tests.engine.processes import inference_arguments, model_arguments, read_events, run


def test_chat_without_a_known_template_says_what_to_give() -> None:
    done = run("chat", *model_arguments(), "--chat-template", "vicuna")
    assert done.returncode == 1
    assert "llama2" in done.stderr
    assert "--chat-template" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "missing.m"], ["missing.m: no such model file"]),
        (["--tokenizer", "missing.t"], ["missing.t"]),
        (["--model", GOLDEN / "golden.t"], ["golden.t", "magic"]),
        (["--steps", 3], ["the prompt has 5 tokens, more than the 3 steps", "--steps"]),
        (["--max-seq-len", 2], ["the prompt has 5 tokens, the context holds 2"]),
        (["--events", "/nonexistent/x"], ["--events /nonexistent/x: No such file"]),
        (["--workers", *(f"127.0.0.1:{port}" for port in range(2, 11))], ["10 nodes", "1 to 8"]),
        (
            ["--workers", "127.0.0.1:1", "--connect-timeout", 0.1],
            ["Cannot connect to worker 1 at 127.0.0.1:1 (Connection refused", "dllama-py worker"],
        ),
        (["--workers", "no.such.host.invalid:1"], ["Cannot connect", "no.such.host.invalid:1"]),
        (["--workers", "127.0.0.1:1", "--token-file", "/nonexistent/x"], ["cluster's token"]),
    ],
)
def test_errors_of_the_user_are_one_line_and_exit_code_1(
    arguments: list[object], words: list[str]
) -> None:
    done = run(*inference_arguments(), *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("🚨 Critical error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_an_unreachable_worker_prints_dllamas_line() -> None:
    done = run(*inference_arguments(), "--workers", "127.0.0.1:1", "--connect-timeout", 0.1)
    assert "⭕ Socket[0]: connecting to 127.0.0.1:1 worker\n" in done.stdout
    assert "\nCannot connect to 127.0.0.1:1 (Connection refused)\n" in done.stdout


def test_model_and_tokenizer_of_different_vocabularies(tmp_path: Path) -> None:
    """As with the real dllama: a remark, and it runs."""
    model, _ = write_synthetic("dim=64,n_layers=1,n_heads=2,hidden_dim=64,vocab_size=300", tmp_path)
    done = run(*inference_arguments(), "--model", model)
    assert done.returncode == 0, done.stderr
    assert (
        "⚠️  The tokenizer has 512 tokens, the model's vocabulary 300: tokens from 300 on are never "
        "used; the model does not know bos (508)\n"
    ) in done.stdout


def test_an_error_is_an_event_too(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    done = run(*inference_arguments(steps=2), "--events", events)
    assert done.returncode == 1
    error, end = read_events(events)
    assert error["type"] == "RequestError"
    assert error["message"] in done.stderr
    assert end["exit_code"] == 1


def test_a_prompt_that_is_no_utf8_ends_without_a_traceback(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    prompt = os.fsdecode(b"caf\xe9 \xff")
    done = run(
        "inference", *model_arguments(), "--prompt", prompt, "--steps", 40, "--events", events
    )
    assert "Traceback" not in done.stderr
    assert read_events(events)[-1]["exit_code"] == done.returncode
