"""Does the model fit? Known from the plan and the hosts' free memory, before anything is loaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from dllama_engine.errors import InsufficientMemoryError
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.wire.handshake import WorkerInfo


def check_memory(needed: Mapping[int, RankMemory], infos: Mapping[int, WorkerInfo]) -> None:
    """Compare what each host's ranks need with what it has; ranks of one host add up.

    Raises:
        InsufficientMemoryError: with the arithmetic of every host that has too little.
    """
    ranks_by_host: dict[str, list[int]] = defaultdict(list)
    for rank, info in infos.items():
        ranks_by_host[info.boot_id].append(rank)
    short = []
    for ranks in ranks_by_host.values():
        needed_bytes = sum(needed[rank].total_bytes for rank in ranks)
        available_bytes = min(infos[rank].available_bytes for rank in ranks)
        if needed_bytes > available_bytes:
            parts = "; ".join(_arithmetic(rank, needed[rank]) for rank in ranks)
            short.append(
                f"host {infos[ranks[0]].hostname} has {format_bytes(available_bytes)} available "
                f"and needs {format_bytes(needed_bytes)} ({parts})"
            )
    if short:
        raise InsufficientMemoryError(
            f"the model does not fit: {' | '.join(short)}. Add hosts, or lower --max-seq-len, "
            "--nbatches, or the KV cache's size with --kv-type f16"
        )


def _arithmetic(rank: int, memory: RankMemory) -> str:
    who = "root" if rank == 0 else f"rank {rank}"
    return (
        f"{who}: weights {format_bytes(memory.weight_bytes)} "
        f"+ KV cache {format_bytes(memory.kv_cache_bytes)} "
        f"+ buffers {format_bytes(memory.buffer_bytes)} "
        f"+ program {format_bytes(memory.runtime_bytes)}"
    )


def format_bytes(n: int) -> str:
    """A size for people.

    >>> format_bytes(512), format_bytes(3 << 20), format_bytes(7_400_000_000)
    ('512 B', '3.00 MiB', '6.89 GiB')
    """
    size = float(n)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
