"""Writes the layers of a rank's forward pass into a program, for a batch or for one half of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Floats, Table
from dllama_engine.collectives.base import Exchanger
from dllama_engine.collectives.combine import Combiner
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.formats.activations import activation_buffers
from dllama_engine.formats.config import HiddenAct, RopeType
from dllama_engine.formats.quants import FloatType
from dllama_engine.program.linear import Activations, Linear
from dllama_engine.program.operands import Mixture
from dllama_engine.program.program import Program
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import ShardPlan, SyncMode
from dllama_engine.tables.spans import ATTENTION, FEED_FORWARD, OUTPUT_PROJECTION, QKV
from dllama_engine.transformer.kv_cache import KVCache
from dllama_engine.transformer.lanes import Lane
from dllama_engine.transformer.weights import RankWeights


@dataclass(frozen=True, slots=True)
class Shared:
    """What both halves of a batch work with.

    Attributes:
        weights: the rank's.
        cache: keys and values.
        tables: rope's cosines and sines, each (positions, head_dim / 2).
        first_head: int64 (kv_heads + 1,): which query heads read each K/V head.
    """

    weights: RankWeights
    cache: KVCache
    tables: tuple[Floats, Floats]
    first_head: npt.NDArray[np.int64]


class LayerWriter:
    """All layers of one rank.

    Args:
        plan: the split.
        rank: this rank.
        shared: what does not depend on the lane.
        lane: the buffers that are worked in.
        program: is written.
    """

    def __init__(
        self, plan: ShardPlan, rank: int, shared: Shared, lane: Lane, program: Program
    ) -> None:
        self.plan, self.config, self.shard = plan, plan.config, plan.ranks[rank]
        self._rank, self._shared, self._lane, self._program = rank, shared, lane, program
        self._weights, self._cache = shared.weights, shared.cache
        # Alone, both modes are the same: what a rank would send itself goes no detour.
        self._invariant = plan.sync_mode is SyncMode.INVARIANT and plan.world_size > 1
        self._take(lane.arrays)

    def _take(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._x: Floats = arrays["x"]
        self._normed: Floats = arrays["normed"]
        self._qkv: Floats = arrays["qkv"]
        self._mixed: Floats = arrays["mixed"]
        self._gate_up: Floats = arrays["gate_up"]
        self._hidden: Floats = arrays["hidden"]
        self._partial: Floats = arrays["partial"]
        self._no_part: Floats = arrays["no_part"]
        self._input = self.activations("input")
        self._mixed_input = self.activations("mixed_input")
        self._hidden_input = self.activations("hidden_input")
        if self.config.is_moe:
            self._take_mixture(arrays)

    def _take_mixture(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        config = self.config
        self._gate: Floats = arrays["gate"]
        f32 = FloatType.F32
        no_casts = {name: b.zeros() for name, b in activation_buffers(0, 0, f32, f32).items()}
        self._gate_input = Activations(no_casts | {"floats": self._normed}, f32, f32)
        self._taken = self.activations("taken")
        self._results: Floats = arrays["results"]
        parts = (arrays[f"mixture.{part}"] for part in ("experts", "weights", "route"))
        self._mixture = Mixture(config.n_experts, config.n_active_experts, *parts)
        self._experts: Table = arrays["addresses"]

    def activations(self, name: str) -> Activations:
        """Of that name, from their parts among the lane's buffers."""
        arrays = self._lane.arrays
        parts = {part: arrays[f"{name}.{part}"] for part in ("values", "scales", "sums", "floats")}
        return Activations(parts, self.plan.buffer_type, self.config.weight_type)

    def write(self, collective: Collective, links: Exchanger | None) -> None:
        """Every layer, its exchanges by that collective."""
        where = self._rank, self.plan.world_size, links, self.plan.buffer_type
        self._combiner = Combiner(*where, COLLECTIVES[collective], self._lane.room)
        for layer in range(self.config.n_layers):
            self._attention(layer)
            if self.config.is_moe:
                self._mixture_of_experts(layer)
            else:
                self._feed_forward(layer)
            self._program.pause()

    def _attention(self, layer: int) -> None:
        """x += attention: q, k and v column-parallel, this rank's heads, wo row-parallel."""
        qkv = self._weights.linear("qkv", layer)
        if qkv is not None:  # else this rank has no head
            self._project_qkv(layer, qkv)
            self._attend(layer)
        self._project_output(layer)

    def _project_qkv(self, layer: int, qkv: Linear) -> None:
        weights, program, head_dim = self._weights, self._program, self.config.head_dim
        program.begin(QKV)
        program.norm(self._x, weights.norm("block_norm_0", layer), self._normed, self._input)
        program.matmul(qkv, self._input, self._qkv)
        if self.config.has_qk_norm:
            n_q, n_k = self.shard.heads.size, self.shard.kv_heads.size
            for name, first, n_heads in (("block_norm_q", 0, n_q), ("block_norm_k", n_q, n_k)):
                norm = weights.norm(name, layer)
                program.head_norms(self._qkv, norm, head_dim, first * head_dim, n_heads)

    def _attend(self, layer: int) -> None:
        self._program.begin(ATTENTION)
        self._program.attention(
            self._qkv,
            self._cache.keys[layer],
            self._cache.values[layer],
            self.shard.heads.size,
            self._shared.first_head,
            self._shared.tables,
            self.config.rope_type is RopeType.FALCON,
            self._mixed,
        )

    def _project_output(self, layer: int) -> None:
        program, wo = self._program, self._weights.linear("wo", layer)
        program.begin(OUTPUT_PROJECTION)
        if self._invariant:
            columns = [rank.heads.scaled(self.config.head_dim) for rank in self.plan.ranks]
            self._combiner.all_gather(program, self._mixed, self._mixed_input, columns)
        elif wo is not None:
            program.load(self._mixed, self._mixed_input)
        if wo is not None:
            program.matmul(wo, self._mixed_input, self._partial)
        self._sum(wo is not None)

    def _feed_forward(self, layer: int) -> None:
        """x += the dense feed-forward: w1 and w3 column-parallel, w2 row-parallel."""
        weights, program = self._weights, self._program
        program.begin(FEED_FORWARD)
        w13, w2 = weights.linear("w13", layer), weights.linear("w2", layer)
        if w13 is not None:
            program.norm(self._x, weights.norm("block_norm_1", layer), self._normed, self._input)
            program.matmul(w13, self._input, self._gate_up)
            self._activation(1)
        self._gather_hidden(1)
        if w2 is not None:
            program.matmul(w2, self._hidden_input, self._partial)
        self._sum(w2 is not None)

    def _activation(self, times: int) -> None:
        """hidden = act(w1 y) * (w3 y), cast; gathered where w2 reads all of it."""
        silu = self.config.hidden_act is HiddenAct.SILU
        into = None if self._invariant else self._hidden_input
        self._program.activate(self._gate_up, self._hidden, silu, into, times)

    def _mixture_of_experts(self, layer: int) -> None:
        """x += every token's active experts, summed in the order of their numbers."""
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
            self._activation(mixture.times)
        self._gather_hidden(mixture.times)
        if w2:
            addresses = self._experts[layer, 1]
            program.experts(mixture, w2, self._hidden_input, addresses, self._results)
            program.combine(mixture, self._results, self._partial)
        self._sum(bool(w2))

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

    def _sum(self, has_part: bool) -> None:
        """x += the parts of all ranks: an all-reduce, or (INVARIANT) an all-gather of rows."""
        program, part = self._program, self._partial if has_part else self._no_part
        if self.plan.world_size == 1:
            is_q80 = self.plan.buffer_type is FloatType.Q80
            program.add_cast(part, self._x, is_q80)
        elif self._invariant:
            rows = [rank.dim_rows for rank in self.plan.ranks]
            self._combiner.all_gather_add(program, part, self._x, rows)
        else:
            self._combiner.all_reduce(program, part, self._x)
