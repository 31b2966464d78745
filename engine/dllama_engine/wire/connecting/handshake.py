"""The handshake: protocol version, and mutual proof (HMAC over nonces) of the cluster's token.

The dialer greets, the listener answers with its proof, the dialer proves in turn, the listener
welcomes with a short JSON text or says why not. Every read has a fixed size and one deadline
bounds the whole, so that a port scanner or a silent connection costs a thread for some seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any

from dllama_engine.errors import HandshakeError

PROTOCOL_VERSION = 6
HANDSHAKE_TIMEOUT_S = 5.0
_SLICE_S = 0.1  # of a wait, between two looks at what else there is to see to
_PREFIX = struct.Struct("<8sH")  # magic, version
_MAGIC = b"DLLAMAPY"
_OURS = _PREFIX.pack(_MAGIC, PROTOCOL_VERSION)
_NONCE_BYTES = 32
_MAC_BYTES = 32
_LENGTH = struct.Struct("<I")
MAX_TEXT_BYTES = 1 << 20


class HandshakeCut(HandshakeError):
    """The other side closed before the end: it may be ending, or have too many callers."""


class DialerRole(IntEnum):
    """What a dialer wants of a worker."""

    ROOT = 1
    PEER = 2
    PROBE = 3


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself when it welcomes somebody."""

    hostname: str
    pid: int
    boot_id: str  # two processes with the same one share a host and its memory
    available_bytes: int
    n_threads: int
    version: str
    busy: str | None = None  # what it is doing, when it cannot serve

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WorkerInfo:
        """The inverse of `to_json`; keys of later versions are passed over.

        Raises:
            KeyError: a key is missing.
            TypeError: a value is of another kind.
        """
        info = cls(**{field.name: data[field.name] for field in fields(cls)})
        texts = info.hostname, info.boot_id, info.version, "" if info.busy is None else info.busy
        counts = info.pid, info.available_bytes, info.n_threads
        if {type(text) for text in texts} != {str} or {type(n) for n in counts} != {int}:
            raise TypeError(f"values of other kinds: {info}")
        return info

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def dial(
    sock: socket.socket,
    role: DialerRole,
    token: bytes,
    address: str,
    timeout_s: float,
    meanwhile: Callable[[], object] = lambda: None,
) -> WorkerInfo:
    """Shake hands as the side that connected; `meanwhile` is called while it waits.

    Raises:
        HandshakeError: what listens there is no worker, of another version, or of another cluster.
        HandshakeCut: it closed the connection before one could tell.
    """
    until = _Deadline(sock, timeout_s, meanwhile)
    try:
        hello = _OURS + bytes([role]) + secrets.token_bytes(_NONCE_BYTES)
        until.send(hello)
        prefix = until.read(_PREFIX.size)
        _check_prefix(prefix, address, "worker")
        nonce, proof = until.read(_NONCE_BYTES), until.read(_MAC_BYTES)
        transcript = hello + prefix + nonce
        if not hmac.compare_digest(proof, _mac(token, b"listener", transcript)):
            raise HandshakeError(
                f"{address} holds another cluster's token; give all nodes the same one "
                "(--token-file, DLLAMA_PY_TOKEN, or a copy of the user's token file)"
            )
        until.send(_mac(token, b"dialer", transcript))
        return WorkerInfo.from_json(until.read_json())
    except TimeoutError:
        raise HandshakeError(
            f"{address} accepted the connection but did not answer within {timeout_s:g} s; "
            "is that a dllama-py worker?"
        ) from None
    except (OSError, EOFError) as error:
        raise HandshakeCut(f"{address} ended the handshake: {error}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise HandshakeError(f"{address} sent a welcome that cannot be read: {error}") from None


def answer(
    sock: socket.socket, token: bytes, welcome: Callable[[DialerRole], WorkerInfo], timeout_s: float
) -> DialerRole:
    """Shake hands as the side that listens; returns what the dialer, now trusted, wants.

    Raises:
        HandshakeError: in one line, why the stranger is refused.
    """
    until = _Deadline(sock, timeout_s)
    try:
        prefix = until.read(_PREFIX.size)
        if prefix != _OURS:
            if prefix.startswith(_MAGIC):
                until.send(_OURS)  # so that the other side can name both versions
                until.drain()
            _check_prefix(prefix, "the stranger", "root")
        rest = until.read(1 + _NONCE_BYTES)
        role = DialerRole(rest[0])
        nonce = secrets.token_bytes(_NONCE_BYTES)
        transcript = prefix + rest + _OURS + nonce
        until.send(_OURS + nonce + _mac(token, b"listener", transcript))
        proof = until.read(_MAC_BYTES)
        if not hmac.compare_digest(proof, _mac(token, b"dialer", transcript)):
            raise HandshakeError("it holds another cluster's token")
        until.send_json(welcome(role).to_json())
        return role
    except TimeoutError:
        raise HandshakeError(f"it said nothing more for {timeout_s:g} s") from None
    except (OSError, EOFError) as error:
        raise HandshakeError(f"it left during the handshake ({error})") from None
    except ValueError as error:
        raise HandshakeError(f"it sent nonsense ({error})") from None


def probe_worker(
    host: str, port: int, token: bytes, timeout_s: float = HANDSHAKE_TIMEOUT_S
) -> WorkerInfo:
    """Handshake and goodbye: is a worker of this cluster ready there?

    Raises:
        HandshakeError: what listens there is no worker of this cluster.
        OSError: nobody listens there.
    """
    with socket.create_connection((host, port), timeout_s) as sock:
        return dial(sock, DialerRole.PROBE, token, f"{host}:{port}", timeout_s)


def send_text(sock: socket.socket, value: object, timeout_s: float) -> None:
    """Send one JSON value to a peer that has shaken hands."""
    _Deadline(sock, timeout_s).send_json(value)


def receive_text(sock: socket.socket, timeout_s: float) -> Any:
    """Receive what `send_text` sent.

    Raises:
        HandshakeError: it did not come in time or is no JSON.
    """
    try:
        return _Deadline(sock, timeout_s).read_json()
    except (OSError, EOFError, ValueError) as error:
        raise HandshakeError(f"no message came after the handshake: {error}") from None


class _Deadline:
    """Exact reads and writes on a socket, all of them before one point in time."""

    def __init__(
        self,
        sock: socket.socket,
        timeout_s: float,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        self._sock, self._meanwhile = sock, meanwhile
        self._until_s = time.monotonic() + timeout_s

    def _arm(self) -> None:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left_s)

    def send(self, data: bytes) -> None:
        self._arm()
        self._sock.sendall(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self._recv(size - len(data))
            if not chunk:
                raise EOFError("the connection was closed")
            data += chunk
        return data

    def _recv(self, size: int) -> bytes:
        while True:
            self._arm()
            if self._meanwhile is None:
                return self._sock.recv(size)
            self._sock.settimeout(min(_SLICE_S, self._sock.gettimeout() or _SLICE_S))
            try:
                return self._sock.recv(size)
            except TimeoutError:
                self._meanwhile()

    def drain(self) -> None:
        """Read on until the other side closes: closing first could take back what was sent."""
        self._sock.shutdown(socket.SHUT_WR)
        for _ in range(16):
            self._arm()
            if not self._sock.recv(256):
                return

    def send_json(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send(_LENGTH.pack(len(text)) + text)

    def read_json(self) -> Any:
        (size,) = _LENGTH.unpack(self.read(_LENGTH.size))
        if size > MAX_TEXT_BYTES:
            raise ValueError(f"a text of {size} bytes, the limit is {MAX_TEXT_BYTES}")
        try:
            return json.loads(self.read(size))
        except RecursionError as error:
            raise ValueError(f"a text that is nested too deeply ({error})") from None


def _mac(token: bytes, side: bytes, transcript: bytes) -> bytes:
    return hmac.new(token, side + transcript, hashlib.sha256).digest()


def _check_prefix(prefix: bytes, who: str, what: str) -> None:
    magic, version = _PREFIX.unpack(prefix)
    if magic != _MAGIC:
        raise HandshakeError(f"{who} is no dllama-py {what}: it began with {prefix!r}")
    if version != PROTOCOL_VERSION:
        raise HandshakeError(
            f"{who} speaks protocol version {version}, this process version {PROTOCOL_VERSION}; "
            "install the same version of pytest-dllama on all nodes"
        )


def own_info(n_threads: int, busy: str | None = None) -> WorkerInfo:
    """What this process says of itself."""
    from dllama_engine.system import process_memory
    from dllama_engine.version import package_version

    return WorkerInfo(
        hostname=socket.gethostname(),
        pid=os.getpid(),
        boot_id=process_memory.boot_id(),
        available_bytes=process_memory.available_bytes(),
        n_threads=n_threads,
        version=package_version(),
        busy=busy,
    )
