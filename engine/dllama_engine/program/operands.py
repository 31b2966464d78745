"""What some operations work on beside single arrays and matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Bytes, Floats


@dataclass(frozen=True, slots=True)
class Mixture:
    """Where a router leaves its choice: for `times` experts a token out of n_experts.

    Attributes:
        experts: int64 (batch_size, times).
        weights: float32 (batch_size, times).
        route: int64 (words,), see `tables.routes`.
    """

    n_experts: int
    times: int
    experts: npt.NDArray[np.int64]
    weights: Floats
    route: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GreedyLoop:
    """What the root takes tokens from and with, and where it writes down what steps were.

    Attributes:
        vocab_size: of the model.
        logits: all ranks', float32 (vocab_size,); None: the root's own are all.
        file: descriptor of the model's file.
        first_embedding: where in it the embeddings begin, each float32 (dim,).
        finite: uint8 (vocab_size,), 1 where an embedding is known to be finite.
        steps: int64 (steps, STEP_WIDTH), see `tables.steps`.
        counters: int64 (steps, world_size, LINK_WIDTH): the links after each.
    """

    vocab_size: int
    logits: Floats | None
    file: int
    first_embedding: int
    finite: Bytes
    steps: npt.NDArray[np.int64]
    counters: npt.NDArray[np.int64]
