"""What a root and its workers agree on before a session, and the dialling between all of them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from dllama_engine.errors import HandshakeError, WireError
from dllama_engine.formats.quants import FloatType
from dllama_engine.handshake import (
    HANDSHAKE_TIMEOUT_S,
    DialerRole,
    HandshakeCut,
    WorkerInfo,
    dial,
)
from dllama_engine.placement import Slots
from dllama_engine.sharding import ShardPlan

CONTROL = struct.Struct("<iHH")  # pos, n_tokens (0 ends the session), n_logits; then x in f32
SETUP_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 600.0  # compiling all kernels for the first time, on a small board

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """All that a worker must know to serve as one rank."""

    session_id: str
    rank: int
    plan: ShardPlan
    n_batches: int
    max_seq_len: int
    kv_type: FloatType
    timeout_s: float
    workers: tuple[Address, ...]  # of ranks 1, 2, ...; as the root reaches them
    slots: Slots  # its threads among those of its host

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the wire."""
        return {
            "session_id": self.session_id,
            "rank": self.rank,
            "plan": self.plan.to_json(),
            "n_batches": self.n_batches,
            "max_seq_len": self.max_seq_len,
            "kv_type": int(self.kv_type),
            "timeout_s": self.timeout_s,
            "workers": [list(address) for address in self.workers],
            "slots": asdict(self.slots),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SessionConfig:
        """The inverse of `to_json`.

        Raises:
            HandshakeError: a field is missing or of another kind.
        """
        try:
            config = cls(
                session_id=str(data["session_id"]),
                rank=int(data["rank"]),
                plan=ShardPlan.from_json(data["plan"]),
                n_batches=int(data["n_batches"]),
                max_seq_len=int(data["max_seq_len"]),
                kv_type=FloatType(data["kv_type"]),
                timeout_s=float(data["timeout_s"]),
                workers=tuple((str(host), int(port)) for host, port in data["workers"]),
                slots=Slots(**{name: int(n) for name, n in data["slots"].items()}),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HandshakeError(f"the root's session config does not fit: {error!r}") from None
        if not 1 <= config.rank < config.plan.world_size == len(config.workers) + 1:
            raise HandshakeError(
                f"the root's session config gives rank {config.rank} of "
                f"{config.plan.world_size} nodes and {len(config.workers)} workers"
            )
        return config

    @property
    def packet_bytes(self) -> int:
        """The largest control packet: its head and a whole batch of x."""
        return CONTROL.size + 4 * self.n_batches * self.plan.config.dim


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
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[socket.socket, WorkerInfo]:
    """Connect and shake hands; a worker that is just starting or busy is waited for.

    Args:
        address: where the worker listens.
        role: what this process is to it.
        token: the cluster's.
        rank: the worker's, for messages.
        patience_s: how long a refused connection or a busy worker is tried again.
        tell: takes dllama's line for a connection that failed.

    Raises:
        WireError: nobody listens there.
        HandshakeError: what listens there is no free worker of this cluster.
    """
    name = format_address(address)
    until_s = time.monotonic() + patience_s
    pause_s = 0.02
    while True:
        problem, final = _try_to_reach(address, role, token)
        if not isinstance(problem, str):
            return problem
        pause_s = min(0.25, 1.5 * pause_s)
        if final or time.monotonic() + pause_s > until_s:
            break
        time.sleep(pause_s)
    if problem.startswith("busy: "):
        raise HandshakeError(
            f"worker {rank} at {name} is busy: {problem[6:]}; wait for its end or use another one"
        )
    tell(f"Cannot connect to {name} ({problem})")
    raise WireError(
        f"Cannot connect to worker {rank} at {name} ({problem}, tried for {patience_s:g} s); "
        f"start it there with: dllama-py worker --host {address[0]} --port {address[1]}"
    )


def _try_to_reach(
    address: Address, role: DialerRole, token: bytes
) -> tuple[str | tuple[socket.socket, WorkerInfo], bool]:
    """One attempt: the connection, or what went wrong and whether that will not change."""
    try:
        sock = socket.create_connection(address, HANDSHAKE_TIMEOUT_S)
    except socket.gaierror as error:
        return str(error.strerror or error), True
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error), False
    try:
        info = dial(sock, role, token, format_address(address), HANDSHAKE_TIMEOUT_S)
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
