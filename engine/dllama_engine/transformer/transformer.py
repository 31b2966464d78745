"""One rank's forward pass over its shard; the collectives make it the whole model's.

Knows nothing of sockets, tokens or files: float vectors in, a slice of logits out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Floats, Table
from dllama_engine.collectives.base import Exchanger
from dllama_engine.collectives.choice import COLLECTIVES
from dllama_engine.collectives.combine import Combiner
from dllama_engine.errors import RequestError
from dllama_engine.formats.activations import activation_buffers
from dllama_engine.formats.config import HiddenAct, RopeType
from dllama_engine.formats.quants import FloatType
from dllama_engine.program.linear import Activations, Linear
from dllama_engine.program.program import Mixture, Program
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.sharding.buffers import rank_buffers, wire_buffers
from dllama_engine.sharding.plan import ShardPlan, Span, SyncMode
from dllama_engine.tables.spans import (
    ATTENTION,
    FEED_FORWARD,
    LOGITS,
    OUTPUT_PROJECTION,
    QKV,
)
from dllama_engine.transformer.kv_cache import KVCache
from dllama_engine.transformer.rope import rope_tables
from dllama_engine.transformer.weights import RankWeights


@dataclass(frozen=True, slots=True)
class _Layers:
    """All layers as operations [first, last), with the collective of some sizes of batches."""

    from_tokens: int
    combiner: Combiner
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
        self._links = links
        wired = wire_buffers(plan, rank, batch_size)
        self._room = {name: buffer.zeros() for name, buffer in wired.items()}
        # Alone, both modes are the same: what a rank would send itself goes no detour.
        self._invariant = plan.sync_mode is SyncMode.INVARIANT and plan.world_size > 1
        self._allocate(kv_type)
        self._program = Program(config.norm_epsilon, batch_size, n_threads)
        self._compile()
        self._team.install(self._program.table())

    def _allocate(self, kv_type: FloatType) -> None:
        """Make every buffer of the plan's list, and the tables that are only read."""
        config, shard = self.config, self.shard
        self._cos, self._sin = rope_tables(config, self.max_seq_len)
        self._cache = KVCache(
            config.n_layers, shard.kv_heads.size, self.max_seq_len, config.head_dim, kv_type
        )
        self._first_head = self._heads_by_kv(config.n_heads // config.n_kv_heads)
        buffers = rank_buffers(self.plan, self.rank, self.batch_size)
        arrays = {name: buffer.zeros() for name, buffer in buffers.items()}
        self._x: Floats = arrays["x"]
        self._normed: Floats = arrays["normed"]
        self._qkv: Floats = arrays["qkv"]
        self._mixed: Floats = arrays["mixed"]
        self._gate_up: Floats = arrays["gate_up"]
        self._hidden: Floats = arrays["hidden"]
        self._partial: Floats = arrays["partial"]
        self._no_part: Floats = arrays["no_part"]
        self._logits: Floats = arrays["logits"]
        self._input = self._activations(arrays, "input")
        self._mixed_input = self._activations(arrays, "mixed_input")
        self._hidden_input = self._activations(arrays, "hidden_input")
        if config.is_moe:
            self._take_mixture(arrays)

    def _take_mixture(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        config = self.config
        self._gate: Floats = arrays["gate"]
        f32 = FloatType.F32
        no_casts = {name: b.zeros() for name, b in activation_buffers(0, 0, f32, f32).items()}
        self._gate_input = Activations(no_casts | {"floats": self._normed}, f32, f32)
        self._taken = self._activations(arrays, "taken")
        self._results: Floats = arrays["results"]
        parts = (arrays[f"mixture.{part}"] for part in ("experts", "weights", "route"))
        self._mixture = Mixture(config.n_experts, config.n_active_experts, *parts)
        self._experts: Table = arrays["addresses"]

    def _activations(self, arrays: dict[str, npt.NDArray[Any]], name: str) -> Activations:
        parts = {part: arrays[f"{name}.{part}"] for part in ("values", "scales", "sums", "floats")}
        return Activations(parts, self.plan.buffer_type, self.config.weight_type)

    def _heads_by_kv(self, group: int) -> npt.NDArray[np.int64]:
        """int64 (kv_heads + 1,): the first local query head that reads each local K/V head."""
        heads, kv_heads = self.shard.heads, self.shard.kv_heads
        starts = np.arange(kv_heads.start, kv_heads.stop + 1, dtype=np.int64) * group
        return np.clip(starts, heads.start, heads.stop) - heads.start

    # -- the program --------------------------------------------------------------------------

    def _compile(self) -> None:
        """Write all layers down as operations, for each collective that serves, and the end."""
        program = self._program
        self._layers: list[_Layers] = []
        for pick in self.plan.picks:
            first, collective = len(program), COLLECTIVES[pick.collective]
            where = self.rank, self.plan.world_size, self._links, self.plan.buffer_type
            combiner = Combiner(*where, collective, self._room)
            self._compile_layers(combiner)
            self._layers.append(_Layers(pick.from_tokens, combiner, first, len(program)))
        weight = self._weights.linear("logits")
        program.begin(LOGITS)
        if weight is not None:
            program.norm(self._x, self._weights.norm("final_norm"), self._normed, self._input)
            program.matmul(weight, self._input, self._logits)

    def _compile_layers(self, combiner: Combiner) -> None:
        program, self._combiner = self._program, combiner
        for layer in range(self.config.n_layers):
            self._compile_attention(layer)
            if self.config.is_moe:
                self._compile_mixture(layer)
            else:
                self._compile_feed_forward(layer)
            program.pause()

    def _compile_attention(self, layer: int) -> None:
        weights, shard, program = self._weights, self.shard, self._program
        config, head_dim = self.config, self.config.head_dim
        program.begin(QKV)
        qkv_weights = weights.linear("qkv", layer)
        if qkv_weights is not None:
            program.norm(self._x, weights.norm("block_norm_0", layer), self._normed, self._input)
            program.matmul(qkv_weights, self._input, self._qkv)
            if config.has_qk_norm:
                spans = (
                    ("block_norm_q", Span(0, shard.heads.size)),
                    (
                        "block_norm_k",
                        Span(shard.heads.size, shard.heads.size + shard.kv_heads.size),
                    ),
                )
                for name, span in spans:
                    norm = weights.norm(name, layer)
                    start = span.start * head_dim
                    program.head_norms(self._qkv, norm, head_dim, start, span.size)
            program.begin(ATTENTION)
            program.attention(
                self._qkv,
                self._cache.keys[layer],
                self._cache.values[layer],
                shard.heads.size,
                self._first_head,
                (self._cos, self._sin),
                config.rope_type is RopeType.FALCON,
                self._mixed,
            )
        program.begin(OUTPUT_PROJECTION)
        weight = weights.linear("wo", layer)
        if self._invariant:
            columns = [rank.heads.scaled(head_dim) for rank in self.plan.ranks]
            self._combiner.all_gather(program, self._mixed, self._mixed_input, columns)
        elif weight is not None:
            program.load(self._mixed, self._mixed_input)
        if weight is not None:
            program.matmul(weight, self._mixed_input, self._partial)
        self._compile_sum(weight is not None)

    def _compile_feed_forward(self, layer: int) -> None:
        weights, program = self._weights, self._program
        program.begin(FEED_FORWARD)
        w13, w2 = weights.linear("w13", layer), weights.linear("w2", layer)
        if w13 is not None:
            program.norm(self._x, weights.norm("block_norm_1", layer), self._normed, self._input)
            program.matmul(w13, self._input, self._gate_up)
            self._compile_activation(1)
        self._gather_hidden(1)
        if w2 is not None:
            program.matmul(w2, self._hidden_input, self._partial)
        self._compile_sum(w2 is not None)

    def _compile_activation(self, times: int) -> None:
        """hidden = act(w1 y) * (w3 y), cast; gathered where w2 reads all of it."""
        silu = self.config.hidden_act is HiddenAct.SILU
        into = None if self._invariant else self._hidden_input
        self._program.activate(self._gate_up, self._hidden, silu, into, times)

    def _compile_mixture(self, layer: int) -> None:
        """Every token's active experts, summed in the order of their numbers."""
        weights, program, mixture = self._weights, self._program, self._mixture
        program.begin(FEED_FORWARD)
        gate = weights.linear("gate", layer)
        assert gate is not None  # replicated on every rank
        program.norm(self._x, weights.norm("block_norm_1", layer), self._normed, self._input)
        program.matmul(gate, self._gate_input, self._gate)
        program.route(self._gate, mixture)
        w13, w2 = self._matrices("w13", layer), self._matrices("w2", layer)
        if w13:
            program.take(mixture, self._input, self._taken)
            addresses = self._experts[layer, 0]
            program.experts(mixture, w13, self._taken, addresses, self._gate_up)
            self._compile_activation(mixture.times)
        self._gather_hidden(mixture.times)
        if w2:
            addresses = self._experts[layer, 1]
            program.experts(mixture, w2, self._hidden_input, addresses, self._results)
            program.combine(mixture, self._results, self._partial)
        self._compile_sum(bool(w2))

    def _matrices(self, name: str, layer: int) -> list[Linear]:
        """All experts' matrices, none where this rank holds no part of them."""
        found = (self._weights.linear(name, layer, e) for e in range(self.config.n_experts))
        return [matrix for matrix in found if matrix is not None]

    def _gather_hidden(self, times: int) -> None:
        if self._invariant:
            columns = [rank.ffn for rank in self.plan.ranks]
            self._combiner.all_gather(
                self._program, self._hidden, self._hidden_input, columns, times
            )

    def _compile_sum(self, has_part: bool) -> None:
        """x += everyone's part, whose rows (INVARIANT) or terms (REDUCE) are spread."""
        program, part = self._program, self._partial if has_part else self._no_part
        if self.plan.world_size == 1:
            is_q80 = self.plan.buffer_type is FloatType.Q80
            program.add_cast(part, self._x, is_q80)
        elif self._invariant:
            rows = [rank.dim_rows for rank in self.plan.ranks]
            self._combiner.all_gather_add(program, part, self._x, rows)
        else:
            self._combiner.all_reduce(program, part, self._x)

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
            raise RequestError(
                f"{tokens} tokens at position {pos}: the limits are batches of {self.batch_size} "
                f"and a context of {self.max_seq_len}; see --nbatches and --max-seq-len"
            )
        self._x[:tokens] = x
        run, end = self._team.run, len(self._program)
        layers = [layers for layers in self._layers if layers.from_tokens <= tokens][-1]
        try:
            run(layers.first, layers.last, tokens, pos, attend=layers.combiner.settle)
            run(self._layers[-1].last, end, n_logits, row=tokens - n_logits)
        except BaseException:
            if self._links is not None:
                self._links.forget_exchange()
            raise
        return self._logits[:n_logits]

    def close(self) -> None:
        """End the helper threads."""
        self._team.close()
