"""BPE: the merge order, every byte, and the agreement with the engine's own tokenizer."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllama_engine.formats.vocab import Vocab
from dllama_engine.text.tokenizer import Tokenizer
from training import bpe
from training.stories import stories

TEXTS = [story.text for story in islice(stories(3), 200)]
SMALL = bpe.train(TEXTS, 600)


def as_engine_tokenizer(vocabulary: bpe.Bpe) -> Tokenizer:
    n = len(vocabulary.tokens)
    return Tokenizer(
        Vocab(
            tokens=(*vocabulary.tokens, b"<s>", b"</s>"),
            scores=(*vocabulary.scores(), 0.0, 0.0),
            bos_id=n,
            eos_ids=(n + 1,),
        )
    )


def test_first_merge_is_the_commonest_pair() -> None:
    assert bpe.train(["abab abab cd"], 257).tokens[256] == b"ab"


def test_a_tie_goes_to_the_first_in_byte_order() -> None:
    assert bpe.train(["zy", "ab"], 257).tokens[256] == b"ab"


def test_training_is_deterministic() -> None:
    assert bpe.train(TEXTS[:50], 400) == bpe.train(TEXTS[:50], 400)


def test_begins_with_every_byte() -> None:
    assert SMALL.tokens[:256] == tuple(bytes([i]) for i in range(256))
    assert len(SMALL.tokens) == len(set(SMALL.tokens)) == 600


def test_scores_fall_with_the_rank() -> None:
    assert SMALL.scores()[255:259] == [0.0, -1.0, -2.0, -3.0]


def test_merges_stay_inside_words() -> None:
    assert all(b" " not in token[1:] for token in SMALL.tokens)
    assert not any(len(t) > 1 and not t.strip().isalpha() for t in SMALL.tokens)


@given(st.text())
def test_round_trip_of_any_text(text: str) -> None:
    assert SMALL.decode(SMALL.encode(text)) == text


@given(st.text(alphabet='abcdehinorst .,"\n', max_size=40))
def test_agrees_with_the_engine(text: str) -> None:
    assert SMALL.encode(text) == as_engine_tokenizer(SMALL).encode(text, add_bos=False)


def test_agrees_with_the_engine_on_stories() -> None:
    tokenizer = as_engine_tokenizer(SMALL)
    for text in TEXTS[:20]:
        assert SMALL.encode(text) == tokenizer.encode(text, add_bos=False)


def test_too_few_words_are_an_error() -> None:
    with pytest.raises(ValueError, match="only 258 tokens can be learned from 1 distinct words"):
        bpe.train(["abc"], 300)


def test_vocabulary_must_begin_with_the_bytes() -> None:
    with pytest.raises(ValueError, match="256 single bytes"):
        bpe.Bpe((b"a",))


def test_vocabulary_must_not_repeat_a_token() -> None:
    with pytest.raises(ValueError, match="twice"):
        bpe.Bpe((*bpe.single_bytes(), b"ab", b"ab"))
