"""What the real dllama cannot do, told in words before it is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dllama.backends.dllama.versions import OLDEST_DRIVEN, Engine, shown

if TYPE_CHECKING:
    from pytest_dllama.models.engine_facts import ModelConfig

_BLOCK = 32  # numbers of a Q40 or Q80 block, which no slice may cut


def refused_version(engine: Engine, what: str) -> str | None:
    """Why a program is too old to be driven, or no dllama; None if it can be."""
    if engine.family == "other":
        return (
            f"{what} is no dllama: it does not hold --buffer-float-type, a flag of every version; "
            "give the program that `make dllama` builds"
        )
    if engine.family != "old":
        return None
    oldest = shown(OLDEST_DRIVEN)
    return (
        f"{what} is dllama {engine.version}, which is not supported: its workers serve one run and "
        f"abort, and it does not tell the prompt from what it generated; use {oldest} or later, or "
        "read what it printed with `pytest-dllama import-log`"
    )


def refused_nodes(config: ModelConfig, nodes: int) -> str | None:
    """Why dllama cannot split a model over so many nodes; None if it can.

    It slices every matrix into equal parts (src/nn/nn-core.cpp, sliceKvCache, sliceRowMatmul) and
    stops with a raw assertion where that does not come out even.

    Args:
        config: the model's.
        nodes: with the root.
    """
    why = _uneven(config, nodes)
    if why is None:
        return None
    usable = [str(n) for n in range(1, config.n_kv_heads + 1) if _uneven(config, n) is None]
    return (
        f"--nodes {nodes}: the real dllama cannot run this model on {nodes} nodes: {why}; "
        f"use {', '.join(usable)}"
    )


def _uneven(config: ModelConfig, nodes: int) -> str | None:
    if nodes > config.n_kv_heads:
        return f"it takes no more nodes than the model has key/value heads ({config.n_kv_heads})"
    parts = {
        "key/value heads": config.n_kv_heads,
        "heads": config.n_heads,
        "vocabulary": config.vocab_size,
    }
    for name, size in parts.items():
        if size % nodes:
            return f"{name} ({size}) cannot be cut into {nodes} equal parts"
    blocks = {
        "width": config.dim,
        "query width": config.q_dim,
        "key/value width": config.kv_dim,
        "feed-forward width": config.ff_dim,
    }
    for name, size in blocks.items():
        if size % nodes or (size // nodes) % _BLOCK:
            return f"{name} ({size}) cannot be cut into {nodes} parts of whole blocks of {_BLOCK}"
    return None
