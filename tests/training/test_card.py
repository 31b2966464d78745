"""The card: what a person reads and what a program reads are the same facts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from training.card import (
    CardFacts,
    Consistency,
    FileFacts,
    Perplexities,
    Sample,
    read_facts,
    render,
)
from training.shape import ModelShape


def facts(path: Path) -> CardFacts:
    path.write_bytes(b"weights")
    shape = ModelShape()
    return CardFacts(
        command="python -m training.train",
        torch="2.0.0",
        recipe={"seed": 1, "steps": 10, "quantized_steps": 2, "n_threads": 2},
        shape=asdict(shape) | {"head_dim": shape.head_dim},
        n_parameters=12,
        n_training_stories=3,
        n_held_out_stories=2,
        n_words=100,
        n_training_tokens=5120,
        training_s=90.0,
        final_loss=0.25,
        perplexities=(Perplexities("the engine", 2, 400, 2.0, 2.02),),
        consistency=Consistency(24, 23, 22, 21),
        samples=(Sample("One morning, Mina", ' said "{hello}".', ended=True),),
        files=(FileFacts.of(path),),
    )


def test_card_shows_the_measured_numbers(tmp_path: Path) -> None:
    card = render(facts(tmp_path / "tiny.m"))
    digest = hashlib.sha256(b"weights").hexdigest()
    assert "| the engine | 2 | 400 | 2.0000 | 2.0200 | +1.00 % |" in card
    assert f"| tiny.m | 7 | `{digest}` |" in card
    assert '> **One morning, Mina** said "{hello}".' in card
    assert "| training time | 1.5 minutes |" in card
    assert "23 end by themselves, 22 use only" in card


def test_json_block_holds_the_same_facts(tmp_path: Path) -> None:
    original = facts(tmp_path / "tiny.m")
    assert read_facts(render(original)) == json.loads(json.dumps(asdict(original)))


def test_card_without_facts_is_an_error() -> None:
    with pytest.raises(ValueError, match="no ```json block"):
        read_facts("# tiny\n")
