"""The files that ship: small, as the card says, and able to tell a story of the grammar."""

from __future__ import annotations

import hashlib
import math
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dllama_engine
from dllama_engine.formats.config import Arch, HiddenAct, RopeType
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.text.tokenizer import Tokenizer, read_tokenizer
from training import world
from training.card import read_facts
from training.measure import OneNode, perplexity
from training.stories import WORD, stories, vocabulary

MODELS = Path(dllama_engine.__file__).parent / "models"
MODEL, TOKENIZER, CARD = (MODELS / f"tiny.{kind}" for kind in ("m", "t", "md"))
PROMPT = "One morning, Mina"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return read_facts(CARD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return read_tokenizer(TOKENIZER)


@pytest.fixture(scope="module")
def node() -> OneNode:
    return OneNode(MODEL, FloatType.Q80)


@cache
def held_out(n: int) -> list[str]:
    """The first stories of the shipped seed were never trained on."""
    return [story.text for story in islice(stories(1), n)]


def test_files_are_small() -> None:
    assert MODEL.stat().st_size + TOKENIZER.stat().st_size <= 6_000_000


def test_header_is_the_specified_one() -> None:
    with ModelFile.open(MODEL) as file:
        config = file.config
    assert (config.arch, config.rope_type) == (Arch.LLAMA, RopeType.LLAMA)
    assert (config.hidden_act, config.weight_type) == (HiddenAct.SILU, FloatType.Q40)
    assert (config.dim, config.hidden_dim, config.n_layers) == (256, 768, 6)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (8, 8, 32)
    assert (config.vocab_size, config.seq_len) == (1024, 512)
    assert (config.rope_theta, config.norm_epsilon) == (10000.0, 1e-5)


def test_tokenizer_is_the_specified_one(tokenizer: Tokenizer) -> None:
    vocab = tokenizer.vocab
    assert len(vocab.tokens) == 1024
    assert vocab.tokens[:256] == tuple(bytes([i]) for i in range(256))
    assert vocab.tokens[1022:] == (b"<s>", b"</s>")
    assert (vocab.bos_id, vocab.eos_ids, vocab.add_bos) == (1022, (1023,), True)


def test_stories_take_few_tokens_and_come_back(tokenizer: Tokenizer) -> None:
    for text in held_out(100):
        ids = tokenizer.encode(text)
        assert 130 <= len(ids) <= 270
        assert len(ids) <= 1.6 * len(text.split())
        assert tokenizer.decode(ids).decode() == text


def test_card_names_these_very_files(facts: dict[str, Any]) -> None:
    assert [entry["name"] for entry in facts["files"]] == ["tiny.m", "tiny.t"]
    for entry in facts["files"]:
        content = (MODELS / entry["name"]).read_bytes()
        assert entry["size_bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert f"| {entry['name']} | {len(content)} | `{entry['sha256']}` |" in CARD.read_text()


def test_card_belongs_to_this_grammar(facts: dict[str, Any]) -> None:
    assert facts["n_words"] == len(vocabulary())


def test_quantization_costs_less_than_two_percent(facts: dict[str, Any]) -> None:
    assert len(facts["perplexities"]) >= 1
    for row in facts["perplexities"]:
        assert row["q40_q80"] <= 1.02 * row["f32"]


def test_perplexity_is_what_the_card_says(
    facts: dict[str, Any], tokenizer: Tokenizer, node: OneNode
) -> None:
    """On 20 of the held-out stories, so within their spread and not to the digit."""
    texts = [tokenizer.encode(text) for text in held_out(20)]
    assert math.isclose(perplexity(node, texts), facts["perplexities"][0]["q40_q80"], rel_tol=0.05)


def test_card_samples_are_what_the_files_say(
    facts: dict[str, Any], tokenizer: Tokenizer, node: OneNode
) -> None:
    sample = facts["samples"][0]
    ids = node.greedy(tokenizer.encode(sample["prompt"]), 64, 1023)
    assert sample["continuation"].startswith(tokenizer.decode(ids).decode())


@pytest.mark.parametrize("prompt", [PROMPT, "One evening, Tom", "Every day, Lily", "Once"])
def test_greedy_text_follows_the_grammar(prompt: str, tokenizer: Tokenizer, node: OneNode) -> None:
    ids = node.greedy(tokenizer.encode(prompt), 256, 1023)
    text = prompt + tokenizer.decode(ids).decode()
    assert 100 <= len(ids) < 256, "the story must end by itself"
    assert set(WORD.findall(text)) <= vocabulary()
    assert text.isascii()
    assert text.endswith((".", '."', '!"'))
    assert text.count('"') % 2 == 0


def test_default_prompt_keeps_its_people(tokenizer: Tokenizer, node: OneNode) -> None:
    ids = node.greedy(tokenizer.encode(PROMPT), 256, 1023)
    words = WORD.findall(PROMPT + tokenizer.decode(ids).decode())
    named = set(words) & set(world.PEOPLE)
    assert "Mina" in named
    assert len(named) == 2, "a hero and a friend"
    assert words.count("Mina") >= 4
    assert "she" in [word.lower() for word in words]


def test_every_greedy_choice_is_clear(tokenizer: Tokenizer, node: OneNode) -> None:
    """A near tie would make node counts disagree without either being wrong."""
    prompt = tokenizer.encode(PROMPT)
    ids = node.greedy(prompt, 128, 1023)
    logits = np.sort(node.logits([*prompt, *ids])[len(prompt) - 1 : -1], axis=1)
    assert (logits[:, -1] - logits[:, -2]).min() > 0.15
