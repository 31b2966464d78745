"""The text the model learns from: distinct stories, split, encoded and packed into rows.

Knows nothing about PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from training import bpe
from training.stories import stories

N_REGULAR = 1022
BOS = N_REGULAR
EOS = N_REGULAR + 1

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Training and held-out stories, all distinct, and the vocabulary learned from the first."""

    training: list[str]
    held_out: list[str]
    vocabulary: bpe.Bpe


def make_corpus(seed: int, n_training: int, n_held_out: int) -> Corpus:
    """Take the first stories of a seed as held-out text and the next ones for training."""
    texts = [story.text for story in islice(stories(seed), n_held_out + n_training)]
    held_out, training = texts[:n_held_out], texts[n_held_out:]
    return Corpus(training, held_out, bpe.train(training, N_REGULAR))


def pack(texts: Iterable[str], vocabulary: bpe.Bpe, row_tokens: int) -> Rows:
    """Lay bos + story + eos end to end in rows (n_rows, row_tokens).

    Every row begins with a story; the story that crosses a row's end is cut there.
    """
    rows: list[list[int]] = []
    row: list[int] = []
    for text in texts:
        row += [BOS, *vocabulary.encode(text), EOS]
        if len(row) >= row_tokens:
            rows.append(row[:row_tokens])
            row = []
    return np.array(rows, dtype=np.int64).reshape(-1, row_tokens)
