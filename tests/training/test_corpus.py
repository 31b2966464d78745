"""Packing: nothing lost but the end of a row's last story, and no held-out story in training."""

from __future__ import annotations

import pytest

from training import corpus
from training.corpus import BOS, EOS, Corpus, make_corpus, pack


@pytest.fixture(scope="module")
def made() -> Corpus:
    return make_corpus(seed=5, n_training=1500, n_held_out=20)


def test_held_out_stories_are_not_trained_on(made: Corpus) -> None:
    assert len(made.held_out) == 20
    assert len(set(made.training)) == 1500
    assert not set(made.held_out) & set(made.training)


def test_vocabulary_fits_below_bos(made: Corpus) -> None:
    assert len(made.vocabulary.tokens) == corpus.N_REGULAR == BOS
    assert EOS == BOS + 1


def test_rows_begin_with_a_story_and_hold_whole_ones(made: Corpus) -> None:
    rows = pack(made.training, made.vocabulary, 513)
    assert rows.shape[1] == 513
    for row in rows[:5]:
        ids = row.tolist()
        assert ids[0] == BOS
        first = ids[1 : ids.index(EOS)]
        assert made.vocabulary.decode(first) in made.training
        assert all(ids[i + 1] == BOS for i, token in enumerate(ids[:-1]) if token == EOS)


def test_too_short_a_text_fills_no_row(made: Corpus) -> None:
    assert pack(made.training[:1], made.vocabulary, 513).shape == (0, 513)
