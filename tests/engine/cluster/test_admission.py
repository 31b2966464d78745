"""Memory that is not there: the arithmetic of each host, and only advice that would do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dllama_engine.cluster.setup.admission import check_memory
from dllama_engine.errors import InsufficientMemoryError
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.wire.connecting.handshake import own_info

GB = 1 << 30


def _refused(held: dict[int, RankMemory], available: int, hosts: int = 1) -> str:
    infos = {
        rank: replace(own_info(1), available_bytes=available, boot_id=f"host {rank % hosts}")
        for rank in held
    }
    with pytest.raises(InsufficientMemoryError) as refused:
        check_memory(held, infos)
    return str(refused.value)


@pytest.mark.parametrize(
    ("memory", "remedies"),
    [
        (
            RankMemory(9 * GB, GB // 2, GB // 4, 0),
            "Add hosts, stop other programs there or take a smaller model",
        ),
        (
            RankMemory(7 * GB, 2 * GB, GB // 4, 0),
            "Add hosts, stop other programs there or take a smaller model, or lower --max-seq-len, "
            "and with it the KV cache",
        ),
        (
            RankMemory(5 * GB, 4 * GB, GB // 4, 0),
            "Add hosts, stop other programs there or take a smaller model, or lower --max-seq-len, "
            "and with it the KV cache, or halve the KV cache with --kv-type f16, unless it is f16 "
            "already",
        ),
        (
            RankMemory(6 * GB, GB // 4, 3 * GB, 0),
            "Add hosts, stop other programs there or take a smaller model, or lower --nbatches, "
            "and with it the buffers",
        ),
    ],
)
def test_only_what_would_do_is_advised(memory: RankMemory, remedies: str) -> None:
    said = _refused({0: memory}, 8 * GB)
    assert said.startswith("the model does not fit: host ")
    assert said.partition("). ")[2] == remedies


def test_what_helps_one_host_only_is_no_advice() -> None:
    """Rank 0 holds weights, rank 1 a cache: lowering the cache would leave rank 0 as it is."""
    held = {0: RankMemory(9 * GB, 0, 0, 0), 1: RankMemory(GB, 8 * GB, 0, 0)}
    said = _refused(held, 8 * GB, hosts=2)
    assert said.count("available and needs") == 2
    assert said.endswith("). Add hosts, stop other programs there or take a smaller model")
