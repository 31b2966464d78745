"""Prompts of an exact length, and what tokens, steps and context make of each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.config.values import ConfigError
from pytest_dllama.models import engine_facts
from pytest_dllama.models.prompts import exact_prompt
from pytest_dllama.models.sizes import request_size
from pytest_dllama.record.cell import Workload
from tests.data import MODELS as GOLDEN
from tests.plugin.models.configs import config_of

TOKENIZERS = {
    "golden": engine_facts.file_tokenizer(GOLDEN / "golden.t"),
    "tiny": engine_facts.file_tokenizer(engine_facts.MODELS_FOLDER / "tiny.t"),
    "synthetic": engine_facts.shape_tokenizer(4096),
}
LLAMA = engine_facts.file_config(GOLDEN / "llama_q40.m")  # its context holds 256
TOKENS = TOKENIZERS["golden"]


@given(name=st.sampled_from(sorted(TOKENIZERS)), n=st.integers(2, 200))
def test_a_prompt_has_exactly_so_many_tokens(name: str, n: int) -> None:
    tokenizer = TOKENIZERS[name]
    text = exact_prompt(tokenizer, n)
    assert len(tokenizer.encode(text)) == n
    assert text == text.strip()
    assert text.isprintable()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_prompt_of_some_length_starts_dllama_right(name: str) -> None:
    """The real dllama decodes a stale token after some prompts: none of ours, but of two tokens."""
    tokenizer = TOKENIZERS[name]
    assert all(tokenizer.stale_last(exact_prompt(tokenizer, n)) is None for n in (3, 16, 100))


def test_a_prompt_that_no_command_line_holds() -> None:
    with pytest.raises(
        ConfigError, match=r"line holds 131071 bytes, \d+ tokens of such a text; use"
    ):
        exact_prompt(TOKENIZERS["synthetic"], 60_000)


def test_output_tokens_are_counted_without_the_prompt() -> None:
    size = request_size(config_of(), Workload(prompt_tokens=16, output_tokens=8), LLAMA, TOKENS)
    assert (size.prompt_tokens, size.output_tokens, size.steps) == (16, 8, 23)
    assert size.max_seq_len == 23  # the cache is as long as the request
    assert size.note is None


def test_a_filled_context_is_part_of_the_cache() -> None:
    load = Workload(prompt_tokens=4, output_tokens=8, context_depth=20)
    size = request_size(config_of(), load, LLAMA, TOKENS)
    assert (size.steps, size.context_depth, size.max_seq_len) == (11, 20, 31)


def test_steps_beyond_the_context_are_noted_with_the_number_run() -> None:
    size = request_size(config_of(steps=300), Workload(), LLAMA, TOKENS)
    assert (size.steps, size.max_seq_len) == (256, 256)
    assert size.note == "--steps 300: the model's context holds 256, so that 256 steps were run"
    size = request_size(config_of(steps=250), Workload(context_depth=10), LLAMA, TOKENS)
    assert size.steps == 246
    assert size.note == (
        "--steps 250: the model's context holds 256, so that 246 steps were run from position 10 on"
    )


def test_a_cache_of_ones_own_length() -> None:
    size = request_size(config_of(steps=20, max_seq_len=40), Workload(), LLAMA, TOKENS)
    assert (size.steps, size.max_seq_len) == (20, 40)
    size = request_size(config_of(steps=60, max_seq_len=40), Workload(), LLAMA, TOKENS)
    assert (size.steps, size.max_seq_len) == (40, 40)
    assert size.note == (
        "--steps 60: --max-seq-len 40 sets the context (the model's has 256), so that 40 steps "
        "were run"
    )
    assert request_size(config_of(max_seq_len=4096), Workload(), LLAMA, TOKENS).max_seq_len == 256


def test_advice_never_asks_for_more_than_the_context() -> None:
    load = Workload(prompt_tokens=256)
    with pytest.raises(ConfigError) as refused:
        request_size(config_of(steps=255), load, LLAMA, TOKENS)
    assert "--steps 257" not in str(refused.value)
    assert "--output-tokens N in place of --steps" in str(refused.value)
    assert request_size(config_of(steps=256), load, LLAMA, TOKENS).output_tokens == 1
