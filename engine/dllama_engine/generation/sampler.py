"""Choosing the next token from logits as dllama does: argmax, temperature, top-p, xorshift*.

Arithmetic is in f32 and in dllama's order, so that a seed gives the same draws. Knows nothing
about text.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dllama_engine.errors import EngineError, RequestError
from dllama_engine.formats.quants import F32Array

U64 = 2**64 - 1
HEAD = 1024  # top-p first sorts this many of the most probable tokens


class LogitsError(EngineError):
    """Logits that no token can be chosen from."""


class Xorshift:
    """The xorshift* generator; one state, one sequence."""

    def __init__(self, seed: int) -> None:
        self._state = seed & U64

    def next_u32(self) -> int:
        """The next 32 random bits."""
        state = self._state
        state ^= state >> 12
        state = (state ^ (state << 25)) & U64
        state ^= state >> 27
        self._state = state
        return (state * 0x2545F4914F6CDD1D & U64) >> 32

    def next_f32(self) -> np.float32:
        """The next number of [0, 1), 24 bits of it."""
        return np.float32(self.next_u32() >> 8) / np.float32(16777216)


class Sampler:
    """Draws token ids; temperature 0 takes the most probable and draws nothing."""

    def __init__(self, vocab_size: int, temperature: float, topp: float, seed: int) -> None:
        if not math.isfinite(temperature) or temperature < 0:
            raise RequestError(f"temperature is {temperature}, expected 0 (argmax) or more")
        if math.isnan(topp):
            raise RequestError("topp is not a number; expected 0 to 1")
        self.vocab_size = vocab_size
        self._temperature = np.float32(temperature)
        self._topp = np.float32(topp)
        self._random = Xorshift(seed)

    @property
    def is_greedy(self) -> bool:
        """Whether it takes the most probable token, always."""
        return bool(self._temperature == 0)

    def sample(self, logits: F32Array, most_probable: int | None = None) -> int:
        """The next token id for logits (vocab_size,), which are not changed.

        Args:
            logits: float32 (vocab_size,).
            most_probable: where the largest of them is, if the caller knows: it is not looked for.

        Raises:
            LogitsError: they are not finite.
        """
        most_probable = self._checked(logits, most_probable)
        if self._temperature == 0:
            return most_probable
        coin = self._random.next_f32()
        with np.errstate(over="ignore"):
            scaled = logits / self._temperature
        if not np.isfinite(scaled.max()):  # a temperature so low that it is 0 in f32's range
            return most_probable
        probs = _softmax(scaled)
        if 0 < self._topp < 1:
            return _draw_topp(probs, self._topp, coin)
        return _draw(np.cumsum(probs, dtype=np.float32), coin)

    def _checked(self, logits: F32Array, first: int | None) -> int:
        """The most probable token, the first of several."""
        if logits.shape != (self.vocab_size,):
            raise LogitsError(f"logits have the shape {logits.shape}, expected {self.vocab_size}")
        if first is None:
            first = int(logits.argmax())  # the first NaN if there is one
        if not math.isfinite(logits[first]):
            bad = np.flatnonzero(np.isnan(logits) | (logits == np.inf))
            raise LogitsError(
                f"{bad.size or logits.size} of {logits.size} logits are not finite, the first of "
                f"token {int(bad[0]) if bad.size else 0}; the weights are damaged or overflow"
            )
        return first


def _softmax(logits: F32Array) -> F32Array:
    exps = np.exp(logits - logits.max())
    return np.asarray(exps / np.cumsum(exps, dtype=np.float32)[-1])


def _draw(cumulative: F32Array, mark: np.float32) -> int:
    """The first index whose cumulative mass is above the mark; the last in case of rounding."""
    found = int(np.searchsorted(cumulative, mark, side="right"))
    return min(found, len(cumulative) - 1)


def _draw_topp(probs: F32Array, topp: np.float32, coin: np.float32) -> int:
    """Draw from the most probable tokens that together exceed `topp`."""
    ids = _candidates(probs, topp)
    ids = ids[np.argsort(-probs[ids], kind="stable")]
    cumulative = np.cumsum(probs[ids], dtype=np.float32)  # (n_candidates,)
    last = _draw(cumulative, topp)
    cumulative = cumulative[: last + 1]
    return int(ids[_draw(cumulative, coin * cumulative[-1])])


def _candidates(probs: F32Array, topp: np.float32) -> NDArray[np.intp]:
    """Ids that can be among the drawn ones, ascending: not below dllama's cutoff.

    When the HEAD most probable exceed `topp` clearly, only they (and their equals) are kept: the
    others come after the end in sorted order, so sorting them changes nothing.
    """
    n = len(probs)
    cutoff = (np.float32(1) - topp) / np.float32(max(n - 1, 1))
    ids = np.flatnonzero(probs >= cutoff)
    if ids.size > 2 * HEAD:
        least = np.partition(probs[ids], -HEAD)[-HEAD]
        head = ids[probs[ids] >= least]
        if probs[head].sum() > topp + np.float32(1e-3):
            ids = head
    return np.asarray(ids if ids.size else [np.argmax(probs)], dtype=np.intp)
