"""The root's end of loading: which pieces each worker still needs, and their digests.

What a worker keeps is compared with the root's own file. Digests that are not kept for the file's
state are computed: reading and hashing is faster than sending on the links that this is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dllama_engine.arrays import Bytes
from dllama_engine.errors import WireError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.loading import digests
from dllama_engine.loading.pieces import Layout, Ranges, digest_of
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.telemetry.events.loading import ShareLoad, Source

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_Offer = tuple[int, str]  # pieces from the first on, digest of their digests


@dataclass(frozen=True, slots=True)
class Said:
    """What a worker said of its weights when it had connected."""

    maps: bool  # it reads the root's file itself
    keeps: bool
    offers: tuple[_Offer, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any], rank: int) -> Said:
        """Of its message.

        Raises:
            WireError: what it says cannot be.
        """
        try:
            offers = tuple(
                (int(offer["pieces"]), str(offer["digest"])) for offer in data.get("offers", ())
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise WireError(
                f"worker {rank} offers weights that cannot be: {error!r}", rank
            ) from None
        return cls(bool(data.get("maps")), bool(data.get("keeps")), offers)


_NOTHING = Said(maps=False, keeps=False, offers=())


class Supply:
    """What the ranks of one session are to be given.

    Args:
        model: the root's file.
        plan: the split.
        said: by the workers; one that said nothing wants everything.
        n_threads: that hash.

    Attributes:
        wanted: pieces by rank, the root's own among them; none of those that map the file.
        takers: ranks that load what they keep.
    """

    def __init__(
        self, model: ModelFile, plan: ShardPlan, said: Mapping[int, Said], n_threads: int
    ) -> None:
        self._model, self.plan, self._n_threads = model, plan, n_threads
        self._said = {rank: said.get(rank, _NOTHING) for rank in range(plan.world_size)}
        ranks = [rank for rank, each in self._said.items() if not each.maps]
        self.layouts = {rank: Layout.of(plan, rank) for rank in ranks}
        self.wanted: dict[int, Ranges] = {r: ((0, len(self.layouts[r])),) for r in ranks}
        self.takers: frozenset[int] = frozenset()
        self._known: dict[int, dict[int, bytes]] = {r: {} for r in ranks if self._said[r].keeps}
        self._state = digests.state_of(model) if self._known else None
        self._pool: ThreadPoolExecutor | None = None
        self._hashing: list[tuple[int, int, Future[bytes]]] = []

    def answers(self, meanwhile: Callable[[], object]) -> dict[int, dict[str, Any]]:
        """What each worker that offered something is told: which offer holds, if any."""
        offering = [rank for rank in self.wanted if rank in self._known and self._said[rank].offers]
        self._find_digests(offering, meanwhile)
        answers = {}
        for rank in offering:
            known = self._known.get(rank, {})
            own = [known[index] for index in range(len(known))]
            fitting = [
                (n, which)
                for which, (n, digest) in enumerate(self._said[rank].offers)
                if 0 < n <= len(own) and digest_of(own[:n]) == digest
            ]
            answers[rank] = {"take": max(fitting)[1] if fitting else None}
        self.takers = frozenset(r for r, answer in answers.items() if answer["take"] is not None)
        return answers

    def _find_digests(self, ranks: list[int], meanwhile: Callable[[], object]) -> None:
        """Of all that is offered, from where they are kept or from the file."""
        unknown = {}
        for rank in ranks:
            kept = digests.find(self._state, self.layouts[rank])
            if kept is not None:
                self._known[rank] = dict(enumerate(kept))
            else:
                offered = max(n for n, _ in self._said[rank].offers)
                unknown[rank] = min(offered, len(self.layouts[rank]))
        if unknown:
            model, n = self._model, self._n_threads
            found = digests.compute(model, self.plan, self.layouts, unknown, n, meanwhile)
            for rank, own in found.items():
                self._known[rank] = dict(enumerate(own))

    def hear(self, rank: int, message: Mapping[str, Any]) -> int:
        """Take what a worker still wants after it has loaded what it keeps; bytes that it has.

        Raises:
            WireError: it wants what there is not.
        """
        layout = self.layouts[rank]
        try:
            missing = tuple((int(first), int(stop)) for first, stop in message["missing"])
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise WireError(
                f"worker {rank} wants weights that cannot be: {error!r}", rank
            ) from None
        edges = [0, *(edge for each in missing for edge in each), len(layout)]
        if any(first >= stop for first, stop in missing) or edges != sorted(edges):
            raise WireError(f"worker {rank} wants pieces {missing} of {len(layout)}", rank)
        self.wanted[rank] = missing
        return layout.nbytes - layout.bytes_of(missing)

    def give_own(self) -> None:
        """The root's own share has been packed."""
        del self.wanted[0]

    @property
    def total_bytes(self) -> int:
        """Of all that is wanted."""
        return sum(self.layouts[rank].bytes_of(ranges) for rank, ranges in self.wanted.items())

    def share(self, rank: int, sent_bytes: int) -> ShareLoad:
        """How a worker came to its weights, with what the socket counted meanwhile."""
        if rank not in self.layouts:
            return ShareLoad(rank, "mapped", 0, sent_bytes, 0)
        layout = self.layouts[rank]
        expected = layout.bytes_of(self.wanted[rank])
        source: Source = "cache" if rank in self.takers else "sent"
        return ShareLoad(rank, source, layout.nbytes - expected, sent_bytes, expected)

    def hash(self, parts: Mapping[int, tuple[int, Bytes]]) -> None:
        """Begin to hash pieces on their way: by rank the index and the bytes, in one stretch."""
        for rank, (index, part) in parts.items():
            if rank not in self._known or index in self._known[rank]:
                continue
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self._n_threads, "dllama-hashing")
            self._hashing.append((rank, index, self._pool.submit(digests.digest, part)))

    def settle(self) -> None:
        """Wait for the digests that are under way: no more than a round of pieces is held."""
        for rank, index, digest in self._hashing:
            self._known[rank][index] = digest.result()
        self._hashing.clear()

    def finish(self) -> None:
        """Keep the digests of all shares that are known whole."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        for rank, known in self._known.items():
            layout = self.layouts[rank]
            if len(known) == len(layout) and self._state is not None:
                digests.keep(self._state, layout, [known[i] for i in range(len(layout))])
