"""What the exported files can do, measured with the project's own engine on one node.

Knows nothing about PyTorch, so that tests may use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType, decode_tensor
from dllama_engine.sharding.plan import make_plan
from dllama_engine.sharding.slices import slice_tensor
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.transformer.weights import RankWeights

Logits = npt.NDArray[np.float32]


class OneNode:
    """A model file loaded whole, with one position in its context."""

    def __init__(self, path: Path, buffer_type: FloatType, batch_size: int = 64) -> None:
        self.batch_size = batch_size
        with ModelFile.open(path) as file:
            plan = make_plan(file.config, 1, buffer_type=buffer_type)
            weights = RankWeights(plan, 0)
            for spec in file.specs:
                raw = slice_tensor(file.raw(spec), spec, plan, 0)
                if spec.name == "embedding":
                    self._embedding = decode_tensor(np.array(file.raw(spec)), spec.float_type)
                elif raw is not None:
                    weights.add(spec, raw)
        weights.finish()
        self._transformer = Transformer(plan, 0, weights, None, batch_size=batch_size)

    def logits(self, ids: Sequence[int], pos: int = 0) -> Logits:
        """Logits (len(ids), vocab) of ids that stand at `pos`, after what came before."""
        parts = []
        for first in range(0, len(ids), self.batch_size):
            x = self._embedding[list(ids[first : first + self.batch_size])]  # (tokens, dim)
            parts.append(self._transformer.forward(x, pos + first, len(x)).copy())
        return np.concatenate(parts)

    def nats(self, ids: Sequence[int]) -> float:
        """Sum of -log p of every id after the first."""
        logits = self.logits(ids[:-1]).astype(np.float64)
        highest = logits.max(axis=1)
        log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
        return float((log_sum - logits[np.arange(len(ids) - 1), list(ids[1:])]).sum())

    def greedy(self, prompt: Sequence[int], n_tokens: int, eos: int) -> list[int]:
        """The likeliest continuation of a prompt (bos first), at most `n_tokens`, up to eos."""
        ids: list[int] = []
        last, pos = self.logits(prompt)[-1], len(prompt)
        while len(ids) < n_tokens and (token := int(last.argmax())) != eos:
            ids.append(token)
            last = self.logits([token], pos)[-1]
            pos += 1
        return ids


def perplexity(node: OneNode, texts: Sequence[Sequence[int]]) -> float:
    """Perplexity over every token of the texts (ids, bos first) but bos, each text alone."""
    n_tokens = sum(len(ids) - 1 for ids in texts)
    return math.exp(sum(node.nats(ids) for ids in texts) / n_tokens)
