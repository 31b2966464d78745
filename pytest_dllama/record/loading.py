"""How the weights came to the workers, as the run file has it."""

from __future__ import annotations

from pytest_dllama.record.base import Record


class ShareRecord(Record):
    """One worker: it mapped the root's file, loaded what it kept, or was sent all of it."""

    rank: int
    source: str  # mapped, cache or sent
    cached_bytes: int  # from its own disk
    sent_bytes: int  # payload from the root, counted on the socket


class LoadingRecord(Record):
    """All workers, in the median repeat."""

    shares: tuple[ShareRecord, ...]
