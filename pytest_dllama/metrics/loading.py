"""From the event of loading to its record."""

from __future__ import annotations

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.record.loading import LoadingRecord, ShareRecord


def loading_record(trace: RequestTrace) -> LoadingRecord | None:
    """How each worker came to its weights; None where the engine does not tell."""
    if trace.ready is None or not trace.ready.shares:
        return None
    return LoadingRecord(
        shares=tuple(
            ShareRecord(
                rank=share.rank,
                source=share.source,
                cached_bytes=share.cached_bytes,
                sent_bytes=share.sent_bytes,
            )
            for share in trace.ready.shares
        )
    )
