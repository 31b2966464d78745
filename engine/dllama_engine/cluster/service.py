"""What a worker does in a session once it is loaded: forward passes as the root asks for them."""

from __future__ import annotations

import time

import numpy as np

from dllama_engine.arrays import Bytes, Floats, Table
from dllama_engine.cluster.packet import packet_bytes, read_packet
from dllama_engine.cluster.session import SessionConfig
from dllama_engine.collectives.logits import LogitsGather
from dllama_engine.tables.links import DONE
from dllama_engine.tables.team import BEGUN, OTHER
from dllama_engine.telemetry.observation import Observation
from dllama_engine.transformer.decode import DecodeEnds
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.wire.frames import SYNC_WITH_ROOT
from dllama_engine.wire.links import Links
from dllama_engine.wire.trace import LinkTotals

_now_ns = time.perf_counter_ns


class StepService:
    """The steps of one session on a worker.

    Args:
        config: of the session.
        links: of the rank.

    Attributes:
        ends: what the transformer does with frames of its own.
        compute_ns: of the request's steps, outside of exchanges.
        sync_ns: in them.
    """

    def __init__(self, config: SessionConfig, links: Links) -> None:
        self._config, self._links = config, links
        self._dim, vocab = config.plan.config.dim, [rank.vocab for rank in config.plan.ranks]
        self._logits = LogitsGather(links, config.rank, vocab)
        self._packet: Bytes = np.empty(packet_bytes(config.batch_size, self._dim), np.uint8)
        self.ends = DecodeEnds(self._logits, next_packet=self._packet)
        self.compute_ns = self.sync_ns = 0
        self._ended = DONE  # how the last decode loop did
        self._idle_ns = self._spent_ns = 0  # since when nothing is asked; time in exchanges then
        self._counters: Table = links.table.copy()  # of the links, at that time

    def run(self, transformer: Transformer, seen: Observation) -> LinkTotals:
        """Until the root says goodbye; what crossed the links before that.

        Raises:
            EngineError: the root or a peer is gone, or sends what cannot be.
        """
        rehearsals = self._config.rehearsals  # still to come
        self._rest()
        while True:
            size = self._receive()
            pos, n_logits, x = read_packet(self._packet, size, self._dim)
            if len(x) == 0:
                return self._links.totals(self._counters)
            counts = rehearsals <= 0 and pos >= self._config.context_depth
            self._step(transformer, seen, x, pos, n_logits, counts=counts)
            if not counts:
                rehearsals -= 1
                seen.forget()

    def _receive(self) -> int:
        """Bytes of the packet that is in place then; the last decode loop may have read of it."""
        ended, self._ended = self._ended, DONE
        if ended == OTHER:
            return packet_bytes(1, self._dim)
        timeout_s, begun = self._config.timeout_s, ended == BEGUN
        return self._links.receive(SYNC_WITH_ROOT, 0, self._packet, timeout_s, begun=begun)

    def _rest(self) -> None:
        """Nothing is asked for from now on."""
        self._idle_ns, self._spent_ns = _now_ns(), self._links.spent_ns
        self._counters = self._links.table.copy()

    def _step(
        self,
        transformer: Transformer,
        seen: Observation,
        x: Floats,
        pos: int,
        n_logits: int,
        *,
        counts: bool,
    ) -> None:
        """One step, and those that compiled code goes on with."""
        start_ns, received_ns = _now_ns(), self._links.spent_ns
        goes_on = seen.begin_step(n_logits)  # else it was the user that all waited for
        idle_ns, moving_ns = start_ns - self._idle_ns, received_ns - self._spent_ns
        if self._config.trace:
            begun_ns = self._idle_ns
            seen.keep_receipt(SYNC_WITH_ROOT, 0, begun_ns, start_ns, moving_ns, waited=goes_on)
        if counts and n_logits == len(x) == 1 and seen.counts_alone:
            loop = transformer.decode_on(x, pos, start_ns, received_ns)
            seen.count_receipt(0, idle_ns, moving_ns, waited=goes_on)
            seen.add_steps(loop.followed)
            self._ended, self._idle_ns = loop.ended, loop.over_ns
            self.compute_ns += loop.computed_ns
            self.sync_ns += loop.spent_ns - self._spent_ns
            self._spent_ns, self._counters = loop.spent_ns, self._links.table.copy()
            return
        self._logits.gather(transformer.forward(x, pos, n_logits), transformer.logits_at)
        forward_ns = _now_ns() - start_ns
        # Now that the root samples: for who is late with a layer all ranks wait.
        seen.count_receipt(0, idle_ns, moving_ns, waited=goes_on)
        seen.end_step(start_ns, pos, len(x), n_logits)
        if counts:
            self.sync_ns += self._links.spent_ns - self._spent_ns
            self.compute_ns += forward_ns - (self._links.spent_ns - received_ns)
        self._rest()
