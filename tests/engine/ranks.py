"""All ranks of a model in one process, one thread each, joined by real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dllama_engine.collectives.logits import LogitsGather
from dllama_engine.formats.config import HiddenAct
from dllama_engine.formats.header import encode_header
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.sharding.slices import slice_tensor
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.links import Links

T = TypeVar("T")


def run_ranks(
    world_size: int, rank_main: Callable[[int, Links | None], T], limit_s: float = 240
) -> list[T]:
    """Call `rank_main(rank, links)` in one thread a rank; their results, or the first error."""
    sockets: list[dict[int, socket.socket]] = [{} for _ in range(world_size)]
    for high in range(world_size):
        for low in range(high):
            sockets[high][low], sockets[low][high] = socket.socketpair()
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def main(rank: int) -> None:
        links = Links(rank, world_size, sockets[rank], limit_s / 2) if world_size > 1 else None
        try:
            results[rank] = rank_main(rank, links)
        except BaseException as error:
            errors.append(error)
        finally:
            if links is not None:
                links.close()

    threads = [threading.Thread(target=main, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit_s)
    if errors:
        raise errors[0]
    if len(results) < world_size:
        raise TimeoutError(f"{len(results)} of {world_size} ranks were done after {limit_s} s")
    return [results[rank] for rank in range(world_size)]


def with_activation(model: Path, hidden_act: HiddenAct, path: Path) -> Path:
    """Write `model` to `path` with another activation in its header; returns `path`."""
    with ModelFile.open(model) as original:
        header = encode_header(replace(original.config, hidden_act=hidden_act))
        tensors = [original.raw(spec).tobytes() for spec in original.specs]
    path.write_bytes(header + b"".join(tensors))
    return path


def rank_weights(model: ModelFile, plan: ShardPlan, rank: int) -> RankWeights:
    """A rank's share of a model, cut from its file."""
    weights = RankWeights(plan, rank)
    for spec in model.specs[1:]:
        part = slice_tensor(model.raw(spec), spec, plan, rank)
        if part is not None:
            weights.add(spec, part)
    weights.finish()
    return weights


@dataclass
class ModelRun:
    """A model file on some ranks; `logits(ids)` runs all ids from position 0."""

    path: Path
    world_size: int = 1
    buffer_type: FloatType = FloatType.Q80
    sync_mode: SyncMode = SyncMode.REDUCE
    collective: str = Collective.MESH
    in_halves: bool = False  # batches of two tokens and more
    kv_type: FloatType = FloatType.F32
    n_threads: int = 1
    batch_size: int = 32
    limit_s: float = 240  # kernels that are not in the cache yet are compiled in this time
    batches: list[int] | None = None  # sizes of the batches; default: as large as allowed
    plan: ShardPlan = field(init=False)

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Logits of every position, float32 (len(ids), vocab)."""
        with ModelFile.open(self.path) as model:
            self.plan = make_plan(
                model.config,
                self.world_size,
                buffer_type=self.buffer_type,
                sync_mode=self.sync_mode,
                collective=self.collective,
                overlap="on" if self.in_halves else "off",
            )
            embedding = model.raw(model.specs[0]).view(np.float32)
            x = np.ascontiguousarray(embedding[ids])
            parts = run_ranks(
                self.world_size, lambda r, links: self._rank(model, x, r, links), self.limit_s
            )
        return np.concatenate([part for part in parts[0] if part is not None])

    def _rank(
        self, model: ModelFile, x: npt.NDArray[np.float32], rank: int, links: Links | None
    ) -> list[npt.NDArray[np.float32] | None]:
        weights = rank_weights(model, self.plan, rank)
        transformer = Transformer(
            self.plan,
            rank,
            weights,
            links,
            n_threads=self.n_threads,
            batch_size=self.batch_size,
            kv_type=self.kv_type,
        )
        vocab = [shard.vocab for shard in self.plan.ranks]
        results, pos = [], 0
        for size in self._batches(len(x)):
            local = transformer.forward(x[pos : pos + size], pos, size)
            whole = LogitsGather(links, rank, vocab).gather(local)
            results.append(None if whole is None else whole.copy())
            pos += size
        transformer.close()
        return results

    def _batches(self, n: int) -> list[int]:
        if self.batches is not None:
            return self.batches
        return [min(self.batch_size, n - start) for start in range(0, n, self.batch_size)]


@dataclass
class CountingRun(ModelRun):
    """Keeps what each rank's links counted: (messages, payload bytes) of each directed link."""

    def __post_init__(self) -> None:
        self.sent: dict[tuple[int, int], tuple[int, int]] = {}

    def _rank(
        self, model: ModelFile, x: npt.NDArray[np.float32], rank: int, links: Links | None
    ) -> list[npt.NDArray[np.float32] | None]:
        result = super()._rank(model, x, rank, links)
        assert links is not None
        totals = links.totals()
        for peer in range(self.world_size):
            self.sent[rank, peer] = (totals.sent_messages[peer], totals.sent_bytes[peer])
        return result
