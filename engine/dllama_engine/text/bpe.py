"""Greedy pair merging in O(n log n): a heap of candidate pairs over a linked list of tokens.

Arrays of ids in, ids out; knows nothing about text, files or special tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

LEAST_SCORE = -1e10  # dllama merges no pair whose token scores this or less


class MergeTable:
    """Which two tokens make a third, and how early: rank 0 is the highest score."""

    def __init__(self, regular: Sequence[bytes], scores: Sequence[float]) -> None:
        self._ids = _index(regular)
        self._regular = regular
        self.lengths = sorted({len(token) for token in regular})
        merged = {scores[i] for i in self._ids.values() if scores[i] > LEAST_SCORE}
        ranks = {score: rank for rank, score in enumerate(sorted(merged, reverse=True))}
        self._ranks = [ranks.get(scores[i], -1) for i in range(len(regular))]
        self._pairs: dict[tuple[int, int], int] = {}

    def token_id(self, token: bytes) -> int | None:
        """The regular id of a token."""
        return self._ids.get(token)

    def merged(self, left: int, right: int) -> int:
        """The id that a pair of ids merges to, or -1."""
        found = self._pairs.get((left, right))
        if found is None:
            found = self._pairs[left, right] = self._look_up(left, right)
        return found

    def rank(self, token_id: int) -> int:
        """How early a merged token is taken; equal scores have equal ranks."""
        return self._ranks[token_id]

    def _look_up(self, left: int, right: int) -> int:
        n_regular = len(self._regular)
        if left >= n_regular or right >= n_regular:
            return -1
        merged = self._ids.get(self._regular[left] + self._regular[right], -1)
        return merged if merged >= 0 and self._ranks[merged] >= 0 else -1


def merge(ids: Sequence[int], table: MergeTable, lasts: list[int] | None = None) -> list[int]:
    """Merge the pair with the best rank, the leftmost of equals, until no pair merges.

    `lasts`, if given, is told the last id of the list as it stood before each merge.

    A heap entry is `rank * n + place`; it is stale when the pair at its place has another rank now.
    """
    n = len(ids)
    tokens = list(ids)
    after = list(range(1, n + 1))  # (n,) place of the next token, n at the end
    before = list(range(-1, n - 1))  # (n,)
    heap: list[int] = []
    for place in range(n - 1):
        merged = table.merged(tokens[place], tokens[place + 1])
        if merged >= 0:
            heap.append(table.rank(merged) * n + place)
    heapify(heap)
    end = tokens[-1] if tokens else -1
    while heap:
        rank, place = divmod(heappop(heap), n)
        right = after[place]
        if tokens[place] < 0 or right == n:
            continue
        merged = table.merged(tokens[place], tokens[right])
        if merged < 0 or table.rank(merged) != rank:
            continue
        if lasts is not None:
            lasts.append(end)
            end = merged if after[right] == n else end
        tokens[place], tokens[right] = merged, -1
        after[place] = right = after[right]
        if right < n:
            before[right] = place
            _offer(heap, table, tokens, place, right)
        if before[place] >= 0:
            _offer(heap, table, tokens, before[place], place)
    return [token for token in tokens if token >= 0]


def _offer(heap: list[int], table: MergeTable, tokens: list[int], left: int, right: int) -> None:
    """Put the pair of these places on the heap if it merges."""
    merged = table.merged(tokens[left], tokens[right])
    if merged >= 0:
        heappush(heap, table.rank(merged) * len(tokens) + left)


def _index(regular: Sequence[bytes]) -> dict[bytes, int]:
    """Token -> id; of equal tokens the one that dllama's binary search over sorted tokens meets."""
    ordered = sorted(range(len(regular)), key=lambda i: regular[i])
    index = {regular[i]: i for i in ordered}
    if len(index) < len(regular):
        for token in {regular[i] for i in ordered if index[regular[i]] != i}:
            index[token] = _binary_search(regular, ordered, token)
    return index


def _binary_search(regular: Sequence[bytes], ordered: Sequence[int], token: bytes) -> int:
    low, high = 0, len(ordered)
    while True:
        middle = (low + high) // 2
        found = regular[ordered[middle]]
        if found == token:
            return ordered[middle]
        if found < token:
            low = middle + 1
        else:
            high = middle
