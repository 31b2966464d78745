"""The spans of one rank: where each phase's time went, counted by compiled code and by Python.

Nothing is told during a request: a rank's account has them at its end.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.tables.spans import (
    DECODE,
    KINDS,
    NAMES,
    PHASES,
    PREFILL,
    WAITED,
    WIRE,
    span_words,
)
from dllama_engine.telemetry.events.base import Phase
from dllama_engine.telemetry.events.ranks import PhaseSpans

_PHASE_NAMES: tuple[Phase, Phase] = ("prefill", "decode")  # in the order of the table's rows


class Spans:
    """A rank's table of spans and who counts in it.

    Args:
        world_size: number of ranks.
        counters: are told the address of the row that time is counted in, at each phase's begin.
    """

    def __init__(self, world_size: int, *counters: Callable[[int], None]) -> None:
        self._table: Table = np.zeros((PHASES, span_words(world_size)), np.int64)
        # Python's own part: adding to a number of a list takes a fifth of adding to an array's.
        self._own = [[0] * span_words(world_size) for _ in range(PHASES)]
        self._steps = [0] * PHASES
        self._counters = counters
        self._gave_logits = False
        self._begin_phase(PREFILL)

    def begin_step(self, n_logits: int) -> bool:
        """A step begins: one of the prompt's has no logits, the others each give a token.

        Returns:
            Whether it goes on with the request of the step before.
        """
        if n_logits and self._gave_logits and self._phase == DECODE:  # as nearly all steps
            self._steps[DECODE] += 1
            return True
        goes_on = any(self._steps) and (n_logits > 0 or not self._gave_logits)
        phase = DECODE if n_logits and self._gave_logits else PREFILL
        if phase != self._phase:
            self._begin_phase(phase)
        self._gave_logits = n_logits > 0
        self._steps[phase] += 1
        return goes_on

    @property
    def is_decoding(self) -> bool:
        """Whether the step under way is one of those behind the first token."""
        return self._phase == DECODE

    def add_steps(self, n: int) -> None:
        """So many more of the same phase were begun and counted by compiled code."""
        self._steps[self._phase] += n

    def _begin_phase(self, phase: int) -> None:
        self._phase, self._row = phase, self._own[phase]
        for count_in in self._counters:
            count_in(int(self._table[phase].ctypes.data))

    def forget(self) -> None:
        """What was counted so far is not of the request."""
        self._table[:] = 0
        for words in (*self._own, self._steps):
            words[:] = [0] * len(words)
        self._gave_logits = False
        self._begin_phase(PREFILL)

    def add(self, kind: int, start_ns: int, end_ns: int) -> None:
        """Work of Python's on the step under way, by `tables.spans`."""
        self._row[kind] += end_ns - start_ns

    def add_receipt(self, peer: int, ns: int, moving_ns: int, *, waited: bool) -> None:
        """A frame of a peer's that Python received in `ns`: it moved for `moving_ns` of them."""
        self._row[WIRE] += moving_ns
        if waited:
            self._row[WAITED + peer] += ns - moving_ns

    def told(self) -> tuple[PhaseSpans, ...]:
        """As the event stream has them: phases that had a step, kinds that took time."""
        return tuple(self._phase_told(phase) for phase in range(PHASES) if self._steps[phase])

    def _phase_told(self, phase: int) -> PhaseSpans:
        us = ((self._table[phase] + self._own[phase]) / 1e3).tolist()
        return PhaseSpans(
            phase=_PHASE_NAMES[phase],
            steps=self._steps[phase],
            us={name: value for name, value in zip(NAMES, us[:KINDS], strict=True) if value},
            waited_us=tuple((peer, value) for peer, value in enumerate(us[WAITED:]) if value),
        )
