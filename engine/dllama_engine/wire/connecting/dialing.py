"""Reaching a worker: connect, shake hands, wait while it starts or is busy."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from dllama_engine.errors import HandshakeError, WireError
from dllama_engine.wire.connecting.handshake import (
    HANDSHAKE_TIMEOUT_S,
    DialerRole,
    HandshakeCut,
    WorkerInfo,
    dial,
)

Address = tuple[str, int]
_CONNECT_S = 2.0  # one attempt, during which nothing else is seen to


def format_address(address: Address) -> str:
    """`host:port`.

    >>> format_address(("10.0.0.1", 9999))
    '10.0.0.1:9999'
    """
    return f"{address[0]}:{address[1]}"


def reach(
    address: Address,
    role: DialerRole,
    token: bytes,
    rank: int,
    *,
    patience_s: float,
    timeout_s: float = HANDSHAKE_TIMEOUT_S,
    tell: Callable[[str], None] = lambda line: None,
    meanwhile: Callable[[], object] = lambda: None,
) -> tuple[socket.socket, WorkerInfo]:
    """Connect and shake hands; a worker that is just starting or busy is waited for.

    Args:
        address: where the worker listens.
        role: what this process is to it.
        token: the cluster's.
        rank: the worker's, for messages.
        patience_s: how long a refused connection or a busy worker is tried again.
        timeout_s: how long one that has accepted may take to answer.
        meanwhile: called now and then, for what else there is to see to.
        tell: takes dllama's line for a connection that failed.

    Raises:
        WireError: nobody listens there.
        HandshakeError: what listens there is no free worker of this cluster.
    """
    name = format_address(address)
    until_s = time.monotonic() + patience_s
    pause_s = 0.02
    while True:
        try:
            problem, final = _try_to_reach(address, role, token, timeout_s, meanwhile)
        except HandshakeError as error:
            raise HandshakeError(f"worker {rank}: {error}", rank) from None
        if not isinstance(problem, str):
            return problem
        meanwhile()
        pause_s = min(0.25, 1.5 * pause_s)
        if final or time.monotonic() + pause_s > until_s:
            break
        time.sleep(pause_s)
    if problem.startswith("busy: "):
        raise HandshakeError(
            f"worker {rank} at {name} is busy: {problem[6:]}; wait for its end or use another one",
            rank,
        )
    tell(f"Cannot connect to {name} ({problem})")
    raise WireError(
        f"Cannot connect to worker {rank} at {name} ({problem}, tried for {patience_s:g} s); "
        f"start it there with: dllama-py worker --host {address[0]} --port {address[1]}",
        rank,
    )


def _try_to_reach(
    address: Address,
    role: DialerRole,
    token: bytes,
    timeout_s: float,
    meanwhile: Callable[[], object],
) -> tuple[str | tuple[socket.socket, WorkerInfo], bool]:
    """One attempt: the connection, or what went wrong and whether that will not change."""
    try:
        sock = socket.create_connection(address, _CONNECT_S)
    except socket.gaierror as error:
        return str(error.strerror or error), True
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error), False
    try:
        info = dial(sock, role, token, format_address(address), timeout_s, meanwhile)
    except HandshakeCut as error:
        sock.close()
        return str(error), False
    except BaseException:
        sock.close()
        raise
    if info.busy is not None and role is DialerRole.ROOT:
        with suppress(OSError):
            sock.close()
        return f"busy: {info.busy}", False
    return (sock, info), True
