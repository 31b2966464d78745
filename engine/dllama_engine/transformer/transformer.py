"""One rank's forward pass over its shard; the collectives make it the whole model's.

Knows nothing of sockets, tokens or files: float vectors in, a slice of logits out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Floats, Table
from dllama_engine.collectives.base import Exchanger
from dllama_engine.errors import RequestError
from dllama_engine.formats.quants import FloatType
from dllama_engine.program.program import Program, Row, address
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.program.weave import woven
from dllama_engine.sharding.buffers import rank_buffers, wire_buffers
from dllama_engine.sharding.collective import Pick
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.tables.links import RECV_AT, RECV_BYTES
from dllama_engine.tables.operations import EXCHANGE, FUNCTION, HEAD_BYTES
from dllama_engine.tables.spans import LOGITS
from dllama_engine.transformer import lanes
from dllama_engine.transformer.decode import DecodeEnds, DecodeLoop
from dllama_engine.transformer.kv_cache import KVCache
from dllama_engine.transformer.lanes import Lane
from dllama_engine.transformer.layers import LayerWriter, Shared
from dllama_engine.transformer.rope import rope_tables
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.frames import KINDS, SYNC_LOGITS, SYNC_WITH_ROOT


@dataclass(frozen=True, slots=True)
class _Layers:
    """All layers as operations [first, last), with the collective of some sizes of batches."""

    from_tokens: int
    in_halves: bool
    first: int
    last: int


class Transformer:
    """Forward passes of one rank, with all buffers preallocated."""

    def __init__(
        self,
        plan: ShardPlan,
        rank: int,
        weights: RankWeights,
        links: Exchanger | None,
        *,
        ends: DecodeEnds | None = None,
        n_threads: int = 1,
        max_seq_len: int | None = None,
        batch_size: int = 32,
        kv_type: FloatType = FloatType.F32,
    ) -> None:
        config, shard = plan.config, plan.ranks[rank]
        self.plan, self.rank, self.config, self.shard = plan, rank, config, shard
        self.max_seq_len = min(max_seq_len or config.seq_len, config.seq_len)
        self.batch_size = batch_size
        self._weights = weights
        self._team = ThreadTeam(n_threads)
        self._links, self._ends = links, ends
        self._writers: list[LayerWriter] = []
        self._allocate(kv_type)
        self._program = Program(config.norm_epsilon, batch_size, n_threads)
        self._compile()
        self._team.install(self._program.table())

    def _allocate(self, kv_type: FloatType) -> None:
        """Make every buffer of the plan's list, and the tables that are only read."""
        config, shard = self.config, self.shard
        cache = KVCache(
            config.n_layers, shard.kv_heads.size, self.max_seq_len, config.head_dim, kv_type
        )
        first_head = self._heads_by_kv(config.n_heads // config.n_kv_heads)
        tables = rope_tables(config, self.max_seq_len)
        self._shared = Shared(self._weights, cache, tables, first_head)
        buffers = rank_buffers(self.plan, self.rank, self.batch_size)
        self._arrays = {name: buffer.zeros() for name, buffer in buffers.items()}
        wired = wire_buffers(self.plan, self.rank, self.batch_size)
        self._room = {name: buffer.zeros() for name, buffer in wired.items()}
        self._x: Floats = self._arrays["x"]
        self._logits: Floats = self._arrays["logits"]
        self.logits_at = address(self._logits)  # of what `forward` returns

    def _heads_by_kv(self, group: int) -> npt.NDArray[np.int64]:
        """int64 (kv_heads + 1,): the first local query head that reads each local K/V head."""
        heads, kv_heads = self.shard.heads, self.shard.kv_heads
        starts = np.arange(kv_heads.start, kv_heads.stop + 1, dtype=np.int64) * group
        return np.clip(starts, heads.start, heads.stop) - heads.start

    # -- the program --------------------------------------------------------------------------

    def _compile(self) -> None:
        """Write all layers down as operations, for each collective that serves, and the end."""
        program = self._program
        whole = lanes.whole(self.batch_size, self._arrays, self._room)
        self._layers: list[_Layers] = []
        # What serves single tokens comes last: with the end it is one stretch, run by one call.
        for pick in reversed(self.plan.picks):
            if pick is self.plan.picks[0]:
                self._decode_begin = len(program)
                self._write_packet()
            first = len(program)
            if pick.in_halves:
                halves = lanes.halves(self.batch_size, self._arrays, self._room)
                program.rows += woven(*(self._written(lane, pick) for lane in halves))
            else:
                program.rows += self._written(whole, pick)
            layers = _Layers(pick.from_tokens, pick.in_halves, first, len(program))
            self._layers.insert(0, layers)
        self._end = len(program)
        weight = self._weights.linear("logits")
        program.begin(LOGITS)
        if weight is not None:
            normed, inputs = self._arrays["normed"], self._writer(whole, program).activations
            into = inputs("input")
            program.norm(self._x, self._weights.norm("final_norm"), normed, into)
            program.matmul(weight, into, self._logits)
        self._n_operations = len(program)
        self._write_ends()

    def _write_packet(self) -> None:
        """On the root: its packet goes to all workers."""
        if self._links is not None and self._ends is not None and self._ends.packet is not None:
            links = self._links
            self._program.exchange(
                KINDS[SYNC_WITH_ROOT], links.table, links.mesh, self._ends.packet
            )

    def _write_ends(self) -> None:
        """Behind a single token's operations: its logits go to the root; the next packet comes."""
        self._decode_end = self._loop_end = len(self._program)
        if self._links is None or self._ends is None:
            return
        links, program = self._links, self._program
        routes = self._ends.logits.routes_of_one(self.logits_at)
        if routes is not None:
            program.exchange(KINDS[SYNC_LOGITS], links.table, links.mesh, routes)
        self._decode_end = self._loop_end = len(program)
        packet, greedy = self._ends.next_packet, self._ends.greedy
        if greedy is not None:
            self._packet_routes = links.routes()
            program.next_token(
                links.table, links.mesh, self._packet_routes, packet, self._x, self._decode_begin,
                self.max_seq_len, greedy, self._logits,
            )  # fmt: skip
            self._loop_end = len(program)
        elif packet is not None:
            self._packet_routes = links.routes()
            size = HEAD_BYTES + 4 * self.config.dim
            self._packet_routes[0, [RECV_AT, RECV_BYTES]] = address(packet), size
            program.next_step(
                KINDS[SYNC_WITH_ROOT], links.table, links.mesh, self._packet_routes,
                packet, self._x, self._layers[0].first, self.max_seq_len,
            )  # fmt: skip
            self._loop_end = len(program)

    def _writer(self, lane: Lane, program: Program) -> LayerWriter:
        writer = LayerWriter(self.plan, self.rank, self._shared, lane, program)
        self._writers.append(writer)  # and with it what its operations have the addresses of
        return writer

    def _written(self, lane: Lane, pick: Pick) -> list[Row]:
        """All layers of a lane."""
        epsilon = self.config.norm_epsilon
        program = Program(epsilon, lane.batch_size, self._team.n_threads, lane.number)
        self._writer(lane, program).write(pick.collective, self._links)
        return program.rows

    def record_spans(self, row_at: int) -> None:
        """From now on time is counted in that row of `tables.spans`; 0: nowhere."""
        self._team.record_spans(row_at)

    def keep_spans(self, ring_at: int) -> None:
        """From now on raw spans are kept in that ring of `tables.timeline`; 0: nowhere."""
        self._team.keep_spans(ring_at)

    def slow_down(self, per_mille: Table | None) -> None:
        """Let work take longer on purpose, by its kind; the table is kept."""
        self._slow = per_mille
        self._team.slow_down(per_mille)

    def read_at(self, bytes_per_s: float) -> None:
        """Emulate a board whose memory has this rate; infinite: as fast as this machine's."""
        self._floors = np.rint(self._program.reads() * (1e12 / bytes_per_s)).astype(np.int64)
        self._team.keep_floors(self._floors if self._floors.any() else None)

    # -- a step -------------------------------------------------------------------------------

    def forward(self, x: Floats, pos: int, n_logits: int) -> Floats:
        """Run a batch through all layers.

        Args:
            x: embeddings float32 (tokens, dim), tokens <= batch_size.
            pos: position of the first token.
            n_logits: for how many of the last tokens logits are wanted.

        Returns:
            This rank's logits float32 (n_logits, local vocab), valid until the next call.

        Raises:
            RequestError: a batch beyond batch_size or the context.
        """
        tokens = x.shape[0]
        if tokens > self.batch_size or pos + tokens > self.max_seq_len:
            raise self._beyond(tokens, pos)
        layers = [layers for layers in self._layers if layers.from_tokens <= tokens][-1]
        try:
            if layers.in_halves and tokens > 1:
                row = self._run_halves(layers, x, pos, n_logits)
            else:
                self._x[:tokens] = x
                row, stop = tokens - n_logits, layers.last
                if row == 0 and stop == self._end:  # as of every token that is generated
                    stop = self._n_operations
                self._team.run(layers.first, stop, tokens, pos, attend=self._settle)
                if stop > self._end:
                    return self._logits[:n_logits]
            if n_logits:
                self._team.run(self._end, self._n_operations, n_logits, row=row)
        except BaseException:
            if self._links is not None:
                self._links.forget_exchange()
            raise
        return self._logits[:n_logits]

    def decode(self, x: Floats, pos: int) -> Floats:
        """Run one token and exchange the frames at its ends, if there are any.

        Args:
            x: embedding float32 (1, dim).
            pos: its position.

        Returns:
            This rank's logits float32 (1, local vocab), valid until the next call.

        Raises:
            RequestError: a position beyond the context.
        """
        self._decode(x, pos, self._decode_begin, self._decode_end)
        return self._logits[:1]

    def decode_greedily(
        self, x: Floats, pos: int, start_ns: int, n_steps: int, until_ns: int
    ) -> None:
        """Run tokens on the root, each the most probable one behind the last.

        Args:
            x: embedding of the first, float32 (1, dim).
            pos: its position.
            start_ns: when its step began, by `time.perf_counter_ns`.
            n_steps: how many at most, as the tables of `ends.greedy` have rows.
            until_ns: none begins after that.

        Raises:
            RequestError: a position beyond the context.
            WireError: of the links.
        """
        self._team.begin_greedy_loop(start_ns, n_steps, until_ns)
        self._decode(x, pos, self._decode_begin, self._loop_end)

    @property
    def n_decoded(self) -> int:
        """How many steps the last of these loops has written down, whatever ended it."""
        return self._team.loop[0]

    @property
    def n_exchanges(self) -> int:
        """Of a single token, those at its ends among them."""
        rows = self._program.rows[self._decode_begin : self._loop_end]
        return sum(int(row.fields[FUNCTION] == EXCHANGE) for row in rows)

    def decode_on(self, x: Floats, pos: int, start_ns: int, spent_ns: int) -> DecodeLoop:
        """Run one token on a worker, and those that the root asks for one after another from then.

        Args:
            x: embedding float32 (1, dim).
            pos: its position.
            start_ns: when it was asked for, by `time.perf_counter_ns`.
            spent_ns: what the links had spent then.

        Raises:
            RequestError: a position beyond the context.
        """
        self._team.begin_loop(start_ns, spent_ns)
        ended = self._decode(x, pos, self._decode_begin, self._loop_end)
        return DecodeLoop(ended, *self._team.loop)

    def _decode(self, x: Floats, pos: int, first: int, stop: int) -> int:
        if pos + 1 > self.max_seq_len:
            raise self._beyond(1, pos)
        self._x[:1] = x
        try:
            return self._team.run(first, stop, 1, pos, attend=self._settle)
        except BaseException:
            if self._links is not None:
                self._links.forget_exchange()
            raise

    def _run_halves(self, layers: _Layers, x: Floats, pos: int, n_logits: int) -> int:
        """Both halves of a batch; the row of x from which on logits are wanted."""
        cut, at = lanes.first_half(len(x)), lanes.first_half(self.batch_size)
        second = len(x) - cut
        self._x[:cut], self._x[at : at + second] = x[:cut], x[cut:]
        self._team.run(
            layers.first, layers.last, cut, pos, attend=self._settle, second=(second, pos + cut)
        )
        if n_logits <= second:
            return at + second - n_logits
        self._x[cut : cut + second] = self._x[at : at + second].copy()
        return len(x) - n_logits

    def _beyond(self, tokens: int, pos: int) -> RequestError:
        return RequestError(
            f"{tokens} tokens at position {pos}: the limits are batches of {self.batch_size} "
            f"and a context of {self.max_seq_len}; see --nbatches and --max-seq-len"
        )

    def _settle(self, op: int, status: int) -> None:
        """Operation `op` returned to Python: see to the exchange, if one is under way.

        Raises:
            WireError: of the links.
        """
        if self._links is not None:
            self._links.settle(status)

    def close(self) -> None:
        """End the helper threads."""
        self._team.close()
