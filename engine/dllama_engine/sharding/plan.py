"""The tensor-parallel plan: (ModelConfig, world size) -> ShardPlan, and each link's traffic a step.

One declarative table says how every tensor is cut. Knows nothing of sockets, kernels or processes.
Any world size works: sizes that do not divide give the first ranks one unit more, a rank may hold
nothing of a part, and K/V heads are replicated where several ranks' query heads share one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import gcd
from typing import Any

from dllama_engine.errors import PlanError
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.quants import Q_BLOCK, FloatType, row_bytes
from dllama_engine.sharding.asked import CollectiveOption, OverlapOption
from dllama_engine.sharding.collective import Collective, Pick, pick_for


class SyncMode(StrEnum):
    """How ranks combine what they computed.

    REDUCE is dllama's: wo and w2 are row-parallel and each rank's whole partial sum goes to every
    other rank. INVARIANT makes wo and w2 column-parallel too and gathers slices instead, so that
    each number is computed by one rank, in one order: logits are bit-identical on any world size.
    """

    REDUCE = "reduce"
    INVARIANT = "invariant"


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of rows, columns or heads."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many it covers."""
        return self.stop - self.start

    def scaled(self, factor: int) -> Span:
        """The same range in units `factor` times as small."""
        return Span(self.start * factor, self.stop * factor)


@dataclass(frozen=True, slots=True)
class RankShard:
    """What one rank computes; empty spans are allowed."""

    heads: Span  # query heads
    kv_heads: Span  # the K/V heads that these query heads read
    ffn: Span  # hidden units, of every expert in a MoE
    vocab: Span  # rows of the classifier
    dim_rows: Span  # output rows of wo and w2 (INVARIANT only; else all of dim)


def split_units(total: int, unit: int, world_size: int) -> list[Span]:
    """Cut `total` into `world_size` spans of whole units, the first ranks one unit larger.

    The last unit may be short when `unit` does not divide `total`.

    >>> split_units(52, 1, 8)[:5]
    [Span(start=0, stop=7), Span(start=7, stop=14), Span(start=14, stop=21), \
Span(start=21, stop=28), Span(start=28, stop=34)]
    """
    n_units = -(-total // unit)
    base, extra = divmod(n_units, world_size)
    spans, start = [], 0
    for rank in range(world_size):
        stop = start + base + (rank < extra)
        spans.append(Span(min(start * unit, total), min(stop * unit, total)))
        start = stop
    return spans


def _split_heads(config: ModelConfig, world_size: int) -> list[Span]:
    """Query heads of each rank: whole K/V groups while there are enough of them."""
    group = config.n_heads // config.n_kv_heads
    align = Q_BLOCK // gcd(Q_BLOCK, config.head_dim)  # heads that fill whole blocks of 32 columns
    unit = align if group % align and align % group else max(group, align)
    if unit * world_size > config.n_heads:  # more ranks than such units: share K/V heads
        unit = align
    return split_units(config.n_heads, unit, world_size)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The whole split, the same on every rank."""

    config: ModelConfig
    world_size: int
    buffer_type: FloatType
    sync_mode: SyncMode
    ranks: tuple[RankShard, ...]
    collective: CollectiveOption  # as asked for
    picks: tuple[Pick, ...]  # what serves which batches
    overlap: OverlapOption  # as asked for

    def pick_for(self, n_tokens: int) -> Pick:
        """How a batch of that many tokens is exchanged."""
        return pick_for(self.picks, n_tokens)

    def with_picks(self, picks: Iterable[Pick]) -> ShardPlan:
        """The same split, exchanged otherwise."""
        return replace(self, picks=tuple(picks))

    def settled(self, picks: Iterable[Pick]) -> ShardPlan:
        """The same split, which asks for just these picks."""
        found = tuple(picks)
        asked, halves = CollectiveOption.of(found), OverlapOption.of(found)
        return replace(self, collective=asked, picks=found, overlap=halves)

    @property
    def is_open(self) -> bool:
        """Whether a probe of the links decides on something."""
        return self.world_size > 1 and (self.collective.is_auto or self.overlap.is_auto)

    def to_json(self) -> dict[str, Any]:
        """What rebuilds the plan on a worker."""
        return {
            "config": self.config.to_json(),
            "world_size": self.world_size,
            "buffer_type": int(self.buffer_type),
            "sync_mode": str(self.sync_mode),
            "collective": str(self.collective),
            "overlap": str(self.overlap),
            "picks": [pick.to_json() for pick in self.picks],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> ShardPlan:
        """The inverse of `to_json`; raises PlanError like `make_plan`."""
        plan = make_plan(
            ModelConfig.from_json(data["config"]),
            int(data["world_size"]),
            buffer_type=FloatType(data["buffer_type"]),
            sync_mode=SyncMode(data["sync_mode"]),
            collective=data["collective"],
            overlap=data.get("overlap", "off"),
        )
        return plan.with_picks(Pick.from_json(pick) for pick in data["picks"])


def make_plan(
    config: ModelConfig,
    world_size: int,
    *,
    buffer_type: FloatType = FloatType.Q80,
    sync_mode: SyncMode = SyncMode.REDUCE,
    collective: str = Collective.MESH,
    overlap: str = "off",
) -> ShardPlan:
    """Split `config` over `world_size` ranks.

    Args:
        config: of the model.
        world_size: how many ranks, the root among them.
        buffer_type: of what they exchange.
        sync_mode: how they combine it.
        collective: as `--collective` says it.
        overlap: as `--overlap` says it.

    Raises:
        PlanError: more nodes than heads, buffers that the sizes do not allow, or options that say
            nothing.
    """
    if not 1 <= world_size <= config.n_heads:
        raise PlanError(
            f"{world_size} nodes: this model runs on 1 to {config.n_heads} nodes, "
            f"as it has {config.n_heads} attention heads; ask for fewer nodes"
        )
    if buffer_type not in (FloatType.Q80, FloatType.F32):
        raise PlanError(f"buffer float type {buffer_type.label}: must be q80 or f32")
    if buffer_type is FloatType.Q80:
        _check_blocks(config)
    heads = _split_heads(config, world_size)
    group = config.n_heads // config.n_kv_heads
    ffn = split_units(config.ff_dim, Q_BLOCK, world_size)
    vocab = split_units(config.vocab_size, Q_BLOCK, world_size)
    dim_rows = (
        split_units(config.dim, Q_BLOCK, world_size)
        if sync_mode is SyncMode.INVARIANT
        else [Span(0, config.dim)] * world_size
    )
    ranks = tuple(
        RankShard(h, _kv_span(h, group), f, v, d)
        for h, f, v, d in zip(heads, ffn, vocab, dim_rows, strict=True)
    )
    asked, halves = CollectiveOption.parse(collective), OverlapOption.parse(overlap)
    picks = halves.picks(asked.picks()) if world_size > 1 else asked.picks()
    return ShardPlan(config, world_size, buffer_type, sync_mode, ranks, asked, picks, halves)


def _kv_span(heads: Span, group: int) -> Span:
    if heads.size == 0:
        return Span(0, 0)
    return Span(heads.start // group, (heads.stop - 1) // group + 1)


def _check_blocks(config: ModelConfig) -> None:
    for what, size in (
        ("dim", config.dim),
        ("n_heads * head_dim", config.q_dim),
        ("hidden dim", config.ff_dim),
    ):
        if size % Q_BLOCK:
            raise PlanError(
                f"{what} {size} is not a multiple of the Q80 block size {Q_BLOCK}; "
                "use --buffer-float-type f32"
            )


def reduce_chunks(n: int, world_size: int, collective: Collective) -> list[Span]:
    """Which columns of a sum over ranks each rank sums, where one rank a column does: all of them.

    A star's root sums everything.
    """
    if collective is Collective.STAR:
        return [Span(0, n), *[Span(n, n)] * (world_size - 1)]
    return split_units(n, Q_BLOCK, world_size)


def vector_bytes(buffer_type: FloatType, n: int) -> int:
    """b(n) of the closed form: a vector of n values in the buffer type."""
    return row_bytes(buffer_type, n)
