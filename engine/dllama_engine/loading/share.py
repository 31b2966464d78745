"""Loading on a worker that caches weights: what it offers from the cache, takes and receives.

It offers what it has of this layout: how many pieces, and one digest of all their digests. The root
compares that with its own file and says which offer holds. What is then read is verified piece by
piece, so that nothing but the root's own bytes is ever loaded, whoever wrote the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dllama_engine.arrays import Bytes
from dllama_engine.errors import WireError
from dllama_engine.loading.cache import Tell, WeightCache, remove
from dllama_engine.loading.entry import Entry
from dllama_engine.loading.keeping import Keeper
from dllama_engine.loading.pieces import Layout, Ranges, digest_of, in_ranges
from dllama_engine.loading.receiving import receive_weights
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.system.sizes import format_bytes
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.links import Links

if TYPE_CHECKING:
    from concurrent.futures import Future

Meanwhile = Callable[[], object]


class KeptShare:
    """What a worker has of its share, for one session; `close` it.

    Args:
        cache: where it is kept.
        plan: the split.
        rank: whose share.
        tell: hears what comes from the cache and what is kept.
    """

    def __init__(self, cache: WeightCache, plan: ShardPlan, rank: int, tell: Tell) -> None:
        self._cache, self._tell = cache, tell
        self.layout = Layout.of(plan, rank)
        self._entries: list[Entry] = []
        self._entry: Entry | None = None  # that is read or written
        self._keeper: Keeper | None = None
        self._missing: Ranges = ((0, len(self.layout)),)

    def offers(self) -> list[dict[str, Any]]:
        """Every entry of this layout, in plain values; two that are the same become one."""
        found: dict[tuple[int, str], Entry] = {}
        for entry in self._cache.entries(self.layout):
            digests = entry.digests()
            offer = len(digests), digest_of(digests)
            if not digests or offer in found:
                remove(entry.path)
                entry.close()
            else:
                found[offer] = entry
        self._entries = [*found.values()]
        return [{"pieces": n, "digest": digest} for n, digest in found]

    @property
    def has_offers(self) -> bool:
        """Whether the root is to say which of them holds."""
        return bool(self._entries)

    def take(self, which: Any, weights: RankWeights, meanwhile: Meanwhile) -> Ranges:
        """Load the entry that the root agreed to; returns the pieces that are still wanted.

        Raises:
            WireError: it is none that was offered.
            EngineError: a value that is not finite.
        """
        if not isinstance(which, int) or not 0 <= which < len(self._entries):
            raise WireError(f"the root takes offer {which!r} of {len(self._entries)}", 0)
        entry = self._entry = self._entries.pop(which)
        n_pieces = entry.n_pieces
        found = set()
        for index, raw in _verified(entry, self.layout, n_pieces, weights.n_threads):
            if raw is not None:
                piece = self.layout.pieces[index]
                weights.add(piece.spec, raw.reshape(piece.span.size, -1), piece.span.start)
                found.add(index)
            meanwhile()
        if damaged := n_pieces - len(found):
            self._tell(f"⚠️  {damaged} of {n_pieces} kept pieces are damaged and come again")
        entry.touch()
        self._missing = in_ranges([i for i in range(len(self.layout)) if i not in found])
        n_bytes = self.layout.nbytes - self.layout.bytes_of(self._missing)
        all_of_it = format_bytes(self.layout.nbytes)
        self._tell(f"💾 {format_bytes(n_bytes)} of {all_of_it} from {entry.path}")
        return self._missing

    def receive(self, links: Links, weights: RankWeights, meanwhile: Meanwhile) -> None:
        """What is missing, from the root; it is kept for the next session.

        Raises:
            EngineError: the root is gone, a value that is not finite.
        """
        if self._missing:
            self._begin_keeping()
        keeper = self._keeper
        receive_weights(
            links, weights, self.layout, self._missing, keeper.add if keeper else _keep_nothing
        )
        if keeper is not None:
            keeper.finish(meanwhile)
            self._keeper = None
            self._tell_kept(keeper)

    def _tell_kept(self, keeper: Keeper) -> None:
        if keeper.is_whole and self._entry is not None:
            self._tell(f"💾 {format_bytes(self.layout.nbytes)} kept in {self._entry.path}")
            self._cache.trim()

    def _begin_keeping(self) -> None:
        entry = self._entry
        if entry is None:
            entry = self._entry = self._cache.new_entry(self.layout)
        elif not entry.lock():  # another worker writes it
            entry = None
        if entry is not None:
            self._keeper = Keeper(entry, self._missing[0][0], self._tell)

    def close(self) -> None:
        """Let go of all files; a thread that still writes ends first."""
        if self._keeper is not None:
            self._keeper.abandon()
            self._keeper = None
        for entry in (self._entry, *self._entries):
            if entry is not None:
                entry.close()
        self._entry, self._entries = None, []


def _keep_nothing(index: int, raw: Bytes) -> None:
    """Of a worker without a cache."""


def _verified(
    entry: Entry, layout: Layout, n_pieces: int, n_threads: int
) -> Iterator[tuple[int, Bytes | None]]:
    """Each piece, or None for a damaged one; the next ones are read and hashed meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    largest = max((piece.nbytes for piece in layout.pieces), default=0)
    buffers = deque(np.empty(largest, np.uint8) for _ in range(n_threads + 1))
    under_way: deque[tuple[int, Bytes, Bytes, Future[bool]]] = deque()
    with ThreadPoolExecutor(n_threads, "dllama-reading") as pool:
        following = iter(range(n_pieces))
        while True:
            while buffers and (index := next(following, None)) is not None:
                buffer = buffers.popleft()
                raw = buffer[: layout.pieces[index].nbytes]
                under_way.append((index, buffer, raw, pool.submit(entry.read, index, raw)))
            if not under_way:
                return
            index, buffer, raw, is_whole = under_way.popleft()
            yield index, raw if is_whole.result() else None
            buffers.append(buffer)
