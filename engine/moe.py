"""Mixture of experts: which experts a token goes to, and which slots an expert serves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


def route(gate_logits: Floats, n_active: int) -> tuple[Indices, Floats]:
    """Pick each token's experts (FORMATS: Forward pass, MoE).

    Args:
        gate_logits: float32 (tokens, n_experts).
        n_active: experts a token.

    Returns:
        Experts (tokens, n_active) in ascending order, and their weights float32, summing to 1:
        softmax over all experts, the largest kept, renormalised.
    """
    shifted = np.exp(gate_logits - gate_logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :n_active]
    experts = np.sort(best, axis=1)
    chosen = np.take_along_axis(probabilities, experts, axis=1)
    return experts, (chosen / chosen.sum(axis=1, keepdims=True)).astype(np.float32)


def slots_by_expert(experts: Indices) -> Iterator[tuple[int, Indices]]:
    """Each expert in use with its slots; slot = token * n_active + place, ascending.

    >>> [(e, s.tolist()) for e, s in slots_by_expert(np.array([[0, 2], [1, 2]]))]
    [(0, [0]), (1, [2]), (2, [1, 3])]
    """
    flat = experts.reshape(-1)
    for expert in np.unique(flat):
        yield int(expert), np.flatnonzero(flat == expert)
