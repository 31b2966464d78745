"""Does a model fit into this machine? Known from its shape, before a byte of it is written.

The arithmetic is the engine's own: what `dllama-py plan` prints and what a root checks before it
loads. Ranks of one machine share its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_dllama.amounts import counted
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.models.engine_facts import ModelConfig, RankMemory, rank_memories
from pytest_dllama.models.sizes import RequestSize

# What an engine's ranks take, of the parts of the closed form.
Total = Callable[[Sequence[RankMemory]], int]


@dataclass(frozen=True, slots=True)
class Holding:
    """Ranks that would hold a model."""

    model: ModelConfig
    nodes: int
    config: LabConfig  # with the options of the cell's workload
    size: RequestSize
    sides: int = 1  # of a comparison, whose clusters are up at once

    def ranks(self, max_seq_len: int, kv_type: str) -> tuple[RankMemory, ...]:
        """What each rank holds with such a cache, of every side."""
        buffers, sync = self.config.buffer_float_type, self.config.sync_mode
        ranks = rank_memories(self.model, self.nodes, buffers, sync, max_seq_len, kv_type)
        return ranks * self.sides


def check_fit(holding: Holding, total: Total, available_bytes: int, *, may_f16: bool) -> None:
    """Refuse what this machine cannot hold, with what would go.

    Args:
        holding: the ranks.
        total: bytes that the engine takes of their parts.
        available_bytes: of this machine, for all ranks together.
        may_f16: whether the engine has an f16 cache.

    Raises:
        ConfigError: they need more.
    """
    positions, kv_type = holding.size.max_seq_len, holding.config.kv_type
    ranks = holding.ranks(positions, kv_type)
    needed = total(ranks)
    if needed <= available_bytes:
        return
    cache = sum(rank.kv_cache_bytes for rank in ranks)
    weights = sum(rank.weight_bytes for rank in ranks)
    nodes = f"{counted(holding.nodes, 'node')} of it"
    if holding.sides > 1:
        nodes = f"{holding.sides} x {nodes} (base and new)"
    raise ConfigError(
        f"{nodes} need {_gb(needed)} of this machine's memory (weights {_gb(weights)}, "
        f"{kv_type} KV cache of {positions} positions {_gb(cache)}, buffers and programs "
        f"{_gb(needed - weights - cache)}), and {_gb(available_bytes)} are available; "
        f"{_advice(holding, total, available_bytes, may_f16)}"
    )


def _advice(holding: Holding, total: Total, available_bytes: int, may_f16: bool) -> str:
    """What makes it fit, tried before it is told."""
    size, kv_type = holding.size, holding.config.kv_type

    def fits(positions: int, kind: str) -> bool:
        return total(holding.ranks(positions, kind)) <= available_bytes

    least = size.context_depth + size.prompt_tokens
    wanted = size.context_depth + size.steps
    if size.max_seq_len > wanted and fits(wanted, kv_type):
        return f"use --max-seq-len {wanted}, which is all that the request needs, or leave it out"
    if kv_type == "f32" and may_f16 and fits(size.max_seq_len, "f16"):
        return "use --kv-type f16"
    kind = "f16" if may_f16 else "f32"
    if fits(least, kind):
        low, high = least, size.max_seq_len
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle, kind) else (low, middle)
        also = " with --kv-type f16" if may_f16 and kv_type == "f32" else ""
        return f"use at most {low - size.context_depth} --steps{also}, or shorter prompts"
    return "use a smaller model, or machines that hold a part each (--hosts)"


def _gb(n_bytes: int) -> str:
    """As people say sizes of memory.

    >>> _gb(4_200_000_000_000), _gb(7_400_000_000), _gb(42_000_000)
    ('4200 GB', '7.4 GB', '0.042 GB')
    """
    size = n_bytes / 1e9
    return f"{size:.0f} GB" if size >= 10 else f"{size:.2g} GB"
