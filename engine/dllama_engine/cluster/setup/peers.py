"""Connections among workers: each dials the ranks below its own and waits for those above."""

from __future__ import annotations

import time
from collections.abc import Callable

from dllama_engine.cluster.session import MESH_TIMEOUT_S, SessionConfig
from dllama_engine.cluster.setup.greeting import greet
from dllama_engine.errors import WireError
from dllama_engine.wire.connecting.dialing import format_address, reach
from dllama_engine.wire.connecting.handshake import HANDSHAKE_TIMEOUT_S, DialerRole
from dllama_engine.wire.connecting.listener import Listener
from dllama_engine.wire.links import Links

Log = Callable[[str], None]
_LOOK_S = 0.1  # at the root, while peers are waited for


def join_peers(
    config: SessionConfig, links: Links, listener: Listener, token: bytes, log: Log
) -> None:
    """Connect this worker to all others.

    Args:
        config: of the session.
        links: of this rank, which get the connections.
        listener: hears the workers of higher rank.
        token: the cluster's.
        log: takes a line for each.

    Raises:
        WireError: one that does not come, or cannot be reached.
        WorkerLost: one that ended meanwhile.
    """
    for rank in range(1, config.rank):
        _dial(config, links, token, rank, log)
    _await_peers(config, links, listener)


def _dial(config: SessionConfig, links: Links, token: bytes, rank: int, log: Log) -> None:
    address = config.workers[rank - 1]
    name = format_address(address)
    log(f"⭕ Socket[{rank}]: connecting to {name} worker")
    sock, _ = reach(
        address,
        DialerRole.PEER,
        token,
        rank,
        patience_s=min(MESH_TIMEOUT_S / 3, config.timeout_s),
        timeout_s=min(HANDSHAKE_TIMEOUT_S, config.timeout_s),
        meanwhile=links.heartbeats.watch,
    )
    greet(links, rank, sock, name, {"session": config.session_id, "rank": config.rank})
    log(f"⭕ Socket[{rank}]: connected")


def _await_peers(config: SessionConfig, links: Links, listener: Listener) -> None:
    missing = set(range(config.rank + 1, config.plan.world_size))
    patience_s = min(MESH_TIMEOUT_S, config.timeout_s)
    until_s = time.monotonic() + patience_s
    while missing:
        peer = listener.next_peer(_LOOK_S)
        links.heartbeats.watch()
        if peer is not None:
            rank = peer.greeting.get("rank")
            if peer.greeting.get("session") != config.session_id or rank not in missing:
                peer.sock.close()
                continue
            missing.remove(rank)
            links.add(rank, peer.sock, format_address(config.workers[rank - 1]))
        elif time.monotonic() > until_s:
            raise WireError(
                f"worker {config.rank} waited {patience_s:g} s for "
                f"{', '.join(f'worker {rank}' for rank in sorted(missing))}: does it run, and "
                f"can it reach {format_address(config.workers[config.rank - 1])}? "
                "127.0.0.1 in --workers is another machine on every host",
                min(missing),
            )
