"""One rank's forward pass over its shard; the collectives make it the whole model's.

Knows nothing of sockets, tokens or files: float vectors in, a slice of logits out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.collectives import Exchanger, MeshCollective
from engine.errors import RequestError
from engine.kernels import attention, layers
from engine.kv_cache import KVCache
from engine.linear import Activations, Linear
from engine.model_file import HiddenAct, RopeType
from engine.moe import Indices, route, slots_by_expert
from engine.quants import FloatType
from engine.rope import rope_tables
from engine.sharding import ShardPlan, Span, SyncMode
from engine.threads import ThreadTeam
from engine.weights import RankWeights

Floats = npt.NDArray[np.float32]


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
        self._epsilon = np.float32(config.norm_epsilon)
        self._invariant = plan.sync_mode is SyncMode.INVARIANT
        self._allocate(kv_type)

    def _allocate(self, kv_type: FloatType) -> None:
        config, shard, n = self.config, self.shard, self.n_batches
        head_dim, heads, ffn = config.head_dim, shard.heads.size, shard.ffn.size
        kinds = self.plan.buffer_type, config.weight_type
        self._cos, self._sin = rope_tables(config, self.max_seq_len)
        self._cache = KVCache(
            config.n_layers, shard.kv_heads.size, self.max_seq_len, head_dim, kv_type
        )
        self._half_cache = kv_type is FloatType.F16
        group = config.n_heads // config.n_kv_heads
        local = np.arange(shard.heads.start, shard.heads.stop)
        self._kv_of_head = local // group - shard.kv_heads.start
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
        stream = self._x[:tokens]
        stream[:] = x
        for layer in range(self.config.n_layers):
            self._attention(stream, layer, pos)
            if self.config.is_moe:
                self._mixture(stream, layer)
            else:
                self._feed_forward(stream, layer)
        return self._classify(stream[tokens - n_logits :])

    def _norm(self, x: Floats, weight: Floats) -> Floats:
        out = self._normed[: x.shape[0]]
        layers.rms_norm(x, weight, self._epsilon, out)
        return out

    def _attention(self, x: Floats, layer: int, pos: int) -> None:
        tokens, weights, shard = x.shape[0], self._weights, self.shard
        qkv_weights = weights.linear("qkv", layer)
        mixed = self._mixed[:tokens]
        if qkv_weights is not None:
            self._input.load(self._norm(x, weights.norm("block_norm_0", layer)))
            qkv = self._qkv[:tokens]
            qkv_weights.apply(self._input, qkv, self._team)
            self._rotate(qkv, layer, pos)
            keys, values = self._cache.keys[layer], self._cache.values[layer]
            first_k = shard.heads.size * self.config.head_dim
            first_v = first_k + shard.kv_heads.size * self.config.head_dim
            store = attention.store_f16 if self._half_cache else attention.store_f32
            store(qkv, keys, values, pos, first_k, first_v)
            attend = attention.attend_f16 if self._half_cache else attention.attend_f32
            args = (qkv, keys, values, self._kv_of_head, mixed, pos)
            self._team.run(attend, args, shard.heads.size)
        columns = [rank.heads.scaled(self.config.head_dim) for rank in self.plan.ranks]
        self._project(x, mixed, self._mixed_input, weights.linear("wo", layer), columns)

    def _rotate(self, qkv: Floats, layer: int, pos: int) -> None:
        """Qwen3's norms of q and k, then rope, both in place."""
        config, heads, kv_heads = self.config, self.shard.heads.size, self.shard.kv_heads.size
        first_k = heads * config.head_dim
        if config.has_qk_norm:
            for name, first, n in (
                ("block_norm_q", 0, heads),
                ("block_norm_k", first_k, kv_heads),
            ):
                weight = self._weights.norm(name, layer)
                layers.rms_norm_heads(qkv, weight, self._epsilon, first, n)
        falcon = config.rope_type is RopeType.FALCON
        rope = layers.rope_halves if falcon else layers.rope_neighbours
        rope(qkv, self._cos, self._sin, pos, 0, heads + kv_heads)  # k stands right behind q

    def _project(
        self,
        x: Floats,
        local: Floats,
        inputs: Activations,
        weight: Linear | None,
        columns: list[Span],
    ) -> None:
        """x += W local, with W's columns (REDUCE) or rows (INVARIANT) spread over the ranks."""
        tokens = x.shape[0]
        partial = self._partial[:tokens]
        if self._invariant:
            self._collective.all_gather(local, inputs, columns)
        elif weight is not None:
            inputs.load(local)
        if weight is None:
            partial[:] = 0.0
        else:
            weight.apply(inputs, partial, self._team)
        self._combine(partial, x)

    def _combine(self, partial: Floats, x: Floats) -> None:
        if self._invariant:
            rows = [rank.dim_rows for rank in self.plan.ranks]
            self._collective.all_gather_add(partial, x, rows)
        else:
            self._collective.all_reduce(partial, x)

    def _activate(self, w13: Linear, inputs: Activations, hidden: Floats) -> None:
        """hidden (rows, local units) = act(w1 y) * (w3 y)."""
        gate_up = self._gate_up[: hidden.shape[0]]
        w13.apply(inputs, gate_up, self._team)
        silu = self.config.hidden_act is HiddenAct.SILU
        (layers.silu_mul if silu else layers.gelu_mul)(gate_up, hidden)

    def _feed_forward(self, x: Floats, layer: int) -> None:
        weights, hidden = self._weights, self._hidden[: x.shape[0]]
        w13 = weights.linear("w13", layer)
        if w13 is not None:
            self._input.load(self._norm(x, weights.norm("block_norm_1", layer)))
            self._activate(w13, self._input, hidden)
        columns = [rank.ffn for rank in self.plan.ranks]
        self._project(x, hidden, self._hidden_input, weights.linear("w2", layer), columns)

    def _mixture(self, x: Floats, layer: int) -> None:
        """A MoE layer: every token's active experts, summed in the order of their indices."""
        tokens, k = x.shape[0], self.config.n_active_experts
        normed = self._norm(x, self._weights.norm("block_norm_1", layer))
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
        partial = self._partial[:tokens]
        partial[:] = 0.0
        scale = expert_weights.reshape(-1, 1)
        for expert, slots in slots_by_expert(experts):
            w2 = self._weights.linear("w2", layer, expert)
            if w2 is not None:
                part = np.empty((len(slots), w2.rows), np.float32)
                w2.apply(self._hidden_input.taken(slots), part, self._team)
                partial[slots // k] += scale[slots] * part
        self._combine(partial, x)

    def _route(self, normed: Floats, layer: int) -> tuple[Indices, Floats]:
        gate_weights, gate = self._weights.linear("gate", layer), self._gate[: normed.shape[0]]
        assert gate_weights is not None  # replicated on every rank
        self._gate_input.load(normed)
        gate_weights.apply(self._gate_input, gate, self._team)
        return route(gate, self.config.n_active_experts)

    def _classify(self, x: Floats) -> Floats:
        logits = self._logits[: x.shape[0]]
        weight = self._weights.linear("logits")
        if weight is not None and x.shape[0]:
            self._input.load(self._norm(x, self._weights.norm("final_norm")))
            weight.apply(self._input, logits, self._team)
        return logits

    def close(self) -> None:
        """End the helper threads."""
        self._team.close()
