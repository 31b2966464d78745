"""The greeting, the first message after a handshake: which session, as which rank."""

from __future__ import annotations

import socket
from typing import Any

from dllama_engine.errors import WorkerLost
from dllama_engine.wire.connecting.handshake import HANDSHAKE_TIMEOUT_S, send_text
from dllama_engine.wire.links import Links


def greet(
    links: Links, rank: int, sock: socket.socket, name: str, greeting: dict[str, Any]
) -> None:
    """Send the greeting and take the connection among the links.

    Args:
        links: of this rank.
        rank: the worker's that was reached.
        sock: to it, after the handshake.
        name: `host:port`, for messages.
        greeting: as JSON has it.

    Raises:
        WorkerLost: it went away meanwhile; the socket is closed.
    """
    try:
        send_text(sock, greeting, HANDSHAKE_TIMEOUT_S)
    except OSError as error:
        sock.close()
        reason = error.strerror or error
        raise WorkerLost(f"worker {rank} at {name} is lost ({reason})", rank) from None
    links.add(rank, sock, name)
