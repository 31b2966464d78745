"""Admission: does the model fit into the hosts' free memory? Known before anything is loaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from dllama_engine.errors import InsufficientMemoryError
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.system.sizes import format_bytes
from dllama_engine.wire.connecting.handshake import WorkerInfo


def check_memory(needed: Mapping[int, RankMemory], infos: Mapping[int, WorkerInfo]) -> None:
    """Compare what each host's ranks need with what it has; ranks of one host add up.

    Raises:
        InsufficientMemoryError: with the arithmetic of every host that has too little.
    """
    ranks_by_host: dict[str, list[int]] = defaultdict(list)
    for rank, info in infos.items():
        ranks_by_host[info.boot_id].append(rank)
    short, remedies = [], []
    for ranks in ranks_by_host.values():
        needed_bytes = sum(needed[rank].total_bytes for rank in ranks)
        available_bytes = min(infos[rank].available_bytes for rank in ranks)
        if needed_bytes > available_bytes:
            held = [needed[rank] for rank in ranks]
            parts = "; ".join(_arithmetic(rank, needed[rank]) for rank in ranks)
            short.append(
                f"host {infos[ranks[0]].hostname} has {format_bytes(available_bytes)} available "
                f"and needs {format_bytes(needed_bytes)} ({parts})"
            )
            remedies.append(_remedies(held, needed_bytes - available_bytes))
    if short:
        common = [remedy for remedy in remedies[0] if all(remedy in each for each in remedies)]
        raise InsufficientMemoryError(
            f"the model does not fit: {' | '.join(short)}. {_in_a_row(common)}"
        )


def _remedies(held: Sequence[RankMemory], missing_bytes: int) -> list[str]:
    """What a host's ranks could do without, each of it enough by itself."""
    cache = sum(memory.kv_cache_bytes for memory in held)
    buffers = sum(memory.buffer_bytes for memory in held)
    remedies = ["add hosts, stop other programs there or take a smaller model"]
    if cache > missing_bytes:
        remedies.append("lower --max-seq-len, and with it the KV cache")
    elif buffers <= missing_bytes < cache + buffers:  # tables of positions shrink with it too
        remedies.append("lower --max-seq-len, and with it the KV cache and buffers")
    if cache // 2 >= missing_bytes:
        remedies.append("halve the KV cache with --kv-type f16, unless it is f16 already")
    if buffers > missing_bytes:
        remedies.append("lower --nbatches, and with it the buffers")
    return remedies


def _in_a_row(remedies: Sequence[str]) -> str:
    """As one sentence: `Add hosts, or lower X, or lower Y`."""
    text = ", or ".join(remedies)
    return text[:1].upper() + text[1:]


def _arithmetic(rank: int, memory: RankMemory) -> str:
    who = "root" if rank == 0 else f"rank {rank}"
    return (
        f"{who}: weights {format_bytes(memory.weight_bytes)} "
        f"+ KV cache {format_bytes(memory.kv_cache_bytes)} "
        f"+ buffers {format_bytes(memory.buffer_bytes)} "
        f"+ program {format_bytes(memory.runtime_bytes)}"
    )
