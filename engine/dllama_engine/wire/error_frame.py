"""The error frame: why a rank leaves, sent to its peers and raised there as an error."""

from __future__ import annotations

import json

from dllama_engine import errors
from dllama_engine.errors import EngineError, WireError, WorkerLost
from dllama_engine.tables.links import HEADER_BYTES
from dllama_engine.wire.frames import ERROR, HEADER, KINDS

MAX_BYTES = 1 << 16


def encode(error: BaseException) -> bytes:
    """The error's type, words and, of a broken link, the rank at its other end."""
    words = {
        "type": type(error).__name__,
        "message": (str(error) or type(error).__name__)[: MAX_BYTES // 8],
        "rank": error.rank if isinstance(error, WireError) else None,
        "witness": error.witness if isinstance(error, WireError) else None,
    }
    return json.dumps(words).encode()


def decode(payload: bytes, who: str, rank: int) -> EngineError:
    """The error that a peer reported, as an error of this process.

    Args:
        payload: what `encode` made of it.
        who: the peer that sent it, for the message.
        rank: that peer's, the one that is lost if its report names no other.
    """
    try:
        words = json.loads(payload)
        kind = getattr(errors, str(words["type"]), WorkerLost)
        message, lost = f"{who} reports: {words['message']}", words.get("rank")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return WorkerLost(f"{who} failed and could not say why; look at its log", rank)
    lost = lost if isinstance(lost, int) else rank
    if not (isinstance(kind, type) and issubclass(kind, EngineError)):
        return WorkerLost(message, lost)
    if not issubclass(kind, WireError):
        return kind(message)
    error, witness = kind(message, lost), words.get("witness")
    error.witness = witness if isinstance(witness, int) else rank
    return error


def find(data: bytes) -> bytes | None:
    """The payload of the error frame among whole frames."""
    at = 0
    while at + HEADER_BYTES <= len(data):
        size, kind, _ = HEADER.unpack_from(data, at)
        start, at = at + HEADER_BYTES, at + HEADER_BYTES + size
        if kind == KINDS[ERROR]:
            return data[start:at]
    return None
