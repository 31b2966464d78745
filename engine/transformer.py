"""One rank's forward pass over its shard; the collectives make it the whole model's.

Knows nothing of sockets, tokens or files: float vectors in, a slice of logits out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from engine.collectives import Exchanger, MeshCollective
from engine.errors import RequestError
from engine.kernels import layers
from engine.kv_cache import KVCache
from engine.linear import Activations, Linear
from engine.model_file import HiddenAct, RopeType
from engine.moe import Indices, route, slots_by_expert
from engine.program import Program
from engine.quants import FloatType
from engine.rope import rope_tables
from engine.sharding import ShardPlan, Span, SyncMode
from engine.threads import ThreadTeam
from engine.weights import RankWeights

Floats = npt.NDArray[np.float32]
_Stage = tuple[int, int, Callable[[int], None]]  # operations [first, last), then this, with tokens


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
        n_batches: int = 32,
        kv_type: FloatType = FloatType.F32,
    ) -> None:
        config, shard = plan.config, plan.ranks[rank]
        self.plan, self.rank, self.config, self.shard = plan, rank, config, shard
        self.max_seq_len = min(max_seq_len or config.seq_len, config.seq_len)
        self.n_batches = n_batches
        self._weights = weights
        self._team = ThreadTeam(n_threads)
        self._collective = MeshCollective(rank, plan.world_size, links, plan.buffer_type)
        # Alone, both modes are the same: what a rank would send itself goes no detour.
        self._invariant = plan.sync_mode is SyncMode.INVARIANT and plan.world_size > 1
        self._epsilon = np.float32(config.norm_epsilon)
        self._allocate(kv_type)
        self._stages: list[_Stage] = []
        self._program = Program(config.norm_epsilon)
        self._compile()
        self._team.install(self._program.table())

    def _allocate(self, kv_type: FloatType) -> None:
        config, shard, n = self.config, self.shard, self.n_batches
        head_dim, heads, ffn = config.head_dim, shard.heads.size, shard.ffn.size
        kinds = self.plan.buffer_type, config.weight_type
        self._cos, self._sin = rope_tables(config, self.max_seq_len)
        self._cache = KVCache(
            config.n_layers, shard.kv_heads.size, self.max_seq_len, head_dim, kv_type
        )
        group = config.n_heads // config.n_kv_heads
        self._first_head = self._heads_by_kv(group)
        self._x = np.zeros((n, config.dim), np.float32)
        self._normed = np.zeros((n, config.dim), np.float32)
        self._input = Activations(n, config.dim, *kinds)
        self._qkv = np.zeros((n, (heads + 2 * shard.kv_heads.size) * head_dim), np.float32)
        self._mixed = np.zeros((n, heads * head_dim), np.float32)
        self._gate_up = np.zeros((n, 2 * ffn), np.float32)
        slots = n * (config.n_active_experts if config.is_moe else 1)
        self._hidden = np.zeros((slots, ffn), np.float32)
        whole = self._invariant  # wo and w2 read all columns, gathered
        self._mixed_input = Activations(n, config.q_dim if whole else heads * head_dim, *kinds)
        self._hidden_input = Activations(slots, config.ff_dim if whole else ffn, *kinds)
        self._partial = np.zeros((n, shard.dim_rows.size), np.float32)
        self._logits = np.zeros((n, shard.vocab.size), np.float32)
        if config.is_moe:
            self._gate_input = Activations(n, config.dim, FloatType.F32, FloatType.F32)
            self._gate = np.zeros((n, config.n_experts), np.float32)

    def _heads_by_kv(self, group: int) -> npt.NDArray[np.int64]:
        """int64 (kv_heads + 1,): the first local query head that reads each local K/V head."""
        heads, kv_heads = self.shard.heads, self.shard.kv_heads
        starts = np.arange(kv_heads.start, kv_heads.stop + 1, dtype=np.int64) * group
        return np.clip(starts, heads.start, heads.stop) - heads.start

    # -- the program --------------------------------------------------------------------------

    def _compile(self) -> None:
        """Write all layers down as operations, with what Python does between them."""
        first = 0
        for layer in range(self.config.n_layers):
            first = self._compile_attention(layer, first)
            if self.config.is_moe:
                first = self._stage(first, partial(self._mixture, layer))
            else:
                first = self._compile_feed_forward(layer, first)
        self._layers_end = len(self._program)
        if self._layers_end > first:
            self._stage(first, _nothing)
        weight = self._weights.linear("logits")
        if weight is not None:
            self._program.norm(self._x, self._weights.norm("final_norm"), self._normed, self._input)
            self._program.matmul(weight, self._input, self._logits)

    def _stage(self, first: int, then: Callable[[int], None]) -> int:
        """End a stage here; the next one starts where it ends."""
        last = len(self._program)
        self._stages.append((first, last, then))
        return last

    def _compile_attention(self, layer: int, first: int) -> int:
        weights, shard, program = self._weights, self.shard, self._program
        config, head_dim = self.config, self.config.head_dim
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
        columns = [rank.heads.scaled(head_dim) for rank in self.plan.ranks]
        weight = weights.linear("wo", layer)
        return self._compile_projection(self._mixed, self._mixed_input, weight, columns, first)

    def _compile_feed_forward(self, layer: int, first: int) -> int:
        weights, program = self._weights, self._program
        w13 = weights.linear("w13", layer)
        if w13 is not None:
            program.norm(self._x, weights.norm("block_norm_1", layer), self._normed, self._input)
            program.matmul(w13, self._input, self._gate_up)
            silu = self.config.hidden_act is HiddenAct.SILU
            into = None if self._invariant else self._hidden_input
            program.activate(self._gate_up, self._hidden, silu, into)
        columns = [rank.ffn for rank in self.plan.ranks]
        weight = weights.linear("w2", layer)
        return self._compile_projection(self._hidden, self._hidden_input, weight, columns, first)

    def _compile_projection(
        self,
        local: Floats,
        inputs: Activations,
        weight: Linear | None,
        columns: list[Span],
        first: int,
    ) -> int:
        """x += W local, with W's columns (REDUCE) or rows (INVARIANT) spread over the ranks."""
        program = self._program
        if self._invariant:
            first = self._stage(first, partial(self._gather, local, inputs, columns))
        elif weight is not None and local is self._mixed:
            program.load(local, inputs)
        if weight is not None:
            program.matmul(weight, inputs, self._partial)
        if self.plan.world_size == 1:
            is_q80 = self.plan.buffer_type is FloatType.Q80
            program.add_cast(self._partial, self._x, is_q80)
            return first
        return self._stage(first, partial(self._combine, weight is not None))

    # -- a step -------------------------------------------------------------------------------

    def forward(self, x: Floats, pos: int, n_logits: int) -> Floats:
        """Run a batch through all layers.

        Args:
            x: embeddings float32 (tokens, dim), tokens <= n_batches.
            pos: position of the first token.
            n_logits: for how many of the last tokens logits are wanted.

        Returns:
            This rank's logits float32 (n_logits, local vocab), valid until the next call.

        Raises:
            RequestError: a batch beyond n_batches or the context.
        """
        tokens = x.shape[0]
        if tokens > self.n_batches or pos + tokens > self.max_seq_len:
            raise RequestError(
                f"{tokens} tokens at position {pos}: the limits are batches of {self.n_batches} "
                f"and a context of {self.max_seq_len}; see --nbatches and --max-seq-len"
            )
        self._x[:tokens] = x
        run = self._team.run
        for first, last, then in self._stages:
            run(first, last, tokens, pos)
            then(tokens)
        run(self._layers_end, len(self._program), n_logits, row=tokens - n_logits)
        return self._logits[:n_logits]

    def _gather(self, local: Floats, inputs: Activations, columns: list[Span], n: int) -> None:
        self._collective.all_gather(local[:n], inputs, columns)

    def _combine(self, has_part: bool, tokens: int) -> None:
        """x += everyone's part."""
        part, x = self._partial[:tokens], self._x[:tokens]
        if not has_part:
            part[:] = 0.0
        if self._invariant:
            rows = [rank.dim_rows for rank in self.plan.ranks]
            self._collective.all_gather_add(part, x, rows)
        else:
            self._collective.all_reduce(part, x)

    def _mixture(self, layer: int, tokens: int) -> None:
        """A MoE layer: every token's active experts, summed in the order of their indices."""
        k, normed = self.config.n_active_experts, self._normed[:tokens]
        layers.rms_norm(
            self._x[:tokens], self._weights.norm("block_norm_1", layer), self._epsilon, normed
        )
        experts, expert_weights = self._route(normed, layer)
        self._input.load(normed)
        hidden = self._hidden[: tokens * k]
        for expert, slots in slots_by_expert(experts):
            w13 = self._weights.linear("w13", layer, expert)
            if w13 is not None:
                part = np.empty((len(slots), hidden.shape[1]), np.float32)
                self._activate(w13, self._input.taken(slots // k), part)
                hidden[slots] = part
        if self._invariant:
            columns = [rank.ffn for rank in self.plan.ranks]
            self._collective.all_gather(hidden, self._hidden_input, columns)
        else:
            self._hidden_input.load(hidden)
        total = self._partial[:tokens]
        total[:] = 0.0
        scale = expert_weights.reshape(-1, 1)
        for expert, slots in slots_by_expert(experts):
            w2 = self._weights.linear("w2", layer, expert)
            if w2 is not None:
                part = np.empty((len(slots), w2.rows), np.float32)
                w2.apply(self._hidden_input.taken(slots), part, self._team)
                total[slots // k] += scale[slots] * part
        self._combine(True, tokens)

    def _route(self, normed: Floats, layer: int) -> tuple[Indices, Floats]:
        gate_weights, gate = self._weights.linear("gate", layer), self._gate[: normed.shape[0]]
        assert gate_weights is not None  # replicated on every rank
        self._gate_input.load(normed)
        gate_weights.apply(self._gate_input, gate, self._team)
        return route(gate, self.config.n_active_experts)

    def _activate(self, w13: Linear, inputs: Activations, hidden: Floats) -> None:
        """hidden (rows, local units) = act(w1 y) * (w3 y)."""
        gate_up = self._gate_up[: hidden.shape[0]]
        w13.apply(inputs, gate_up, self._team)
        silu = self.config.hidden_act is HiddenAct.SILU
        (layers.silu_mul if silu else layers.gelu_mul)(gate_up, hidden)

    def close(self) -> None:
        """End the helper threads."""
        self._team.close()


def _nothing(tokens: int) -> None:
    """What follows the last operations."""
