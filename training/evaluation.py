"""Held-out perplexity of the PyTorch model; `training.measure` does the same with the engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from training.corpus import EOS
from training.llama import Llama

IGNORED = -100


def perplexity(model: Llama, stories: Sequence[Sequence[int]], batch_stories: int = 8) -> float:
    """Perplexity over every token of the stories (ids, bos first) but bos, each story alone."""
    total_nats, n_tokens = 0.0, 0
    for ids, targets in _batches(stories, batch_stories):
        with torch.no_grad():
            losses = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum")
        total_nats += float(losses)
        n_tokens += int((targets != IGNORED).sum())
    return math.exp(total_nats / n_tokens)


def _batches(stories: Sequence[Sequence[int]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets (n_stories, longest story); targets past a story's end are ignored."""
    for first in range(0, len(stories), size):
        batch = stories[first : first + size]
        longest = max(map(len, batch)) - 1
        ids = torch.full((len(batch), longest), EOS)
        targets = torch.full((len(batch), longest), IGNORED)
        for row, story in enumerate(batch):
            ids[row, : len(story) - 1] = torch.tensor(story[:-1])
            targets[row, : len(story) - 1] = torch.tensor(story[1:])
        yield ids, targets
