"""A worker's listening socket: accepts, shakes hands, sorts callers, turns strangers away.

Each caller is met by a short-lived thread, so that a silent one delays nobody, also not while a
session runs. One root at a time is let in; the next one is told that the worker is busy.
"""

from __future__ import annotations

import math
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dllama_engine.errors import HandshakeError, WireError
from dllama_engine.system.process import LONGEST_WAIT_S, start_without_signals
from dllama_engine.wire.connecting.handshake import (
    HANDSHAKE_TIMEOUT_S,
    DialerRole,
    WorkerInfo,
    answer,
    own_info,
    receive_text,
)

MAX_CALLERS = 64  # handshakes at the same time; more are turned away


@dataclass(frozen=True, slots=True)
class Caller:
    """A connection that has proved that it belongs to the cluster."""

    sock: socket.socket
    address: str
    greeting: dict[str, Any]  # a peer's session and rank; empty for a root


class Listener:
    """Listens on one port; hands over roots and peers that have shaken hands."""

    def __init__(
        self, host: str, port: int, token: bytes, n_threads: int, log: Callable[[str], None]
    ) -> None:
        self.host, self.port = host, port
        self._token, self._n_threads, self._log = token, n_threads, log
        self._socket: socket.socket | None = None
        self._roots: queue.Queue[Caller] = queue.Queue()
        self._peers: queue.Queue[Caller] = queue.Queue()
        self._lock = threading.Lock()
        self._busy_with: tuple[str, float] | None = None  # root's address, since when
        self._slots = threading.BoundedSemaphore(MAX_CALLERS)

    def open(self) -> int:
        """Bind and listen; returns the port, which the kernel chose if 0 was asked for.

        Raises:
            WireError: the address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            self._socket = socket.create_server((self.host, self.port), family=family, backlog=64)
        except (OSError, OverflowError) as error:
            errno = getattr(error, "errno", None)
            reason = os.strerror(errno) if errno else error
            raise WireError(
                f"cannot listen on {self.host}:{self.port} ({reason}); "
                "choose another --port, or 0 for any free one"
            ) from None
        self.port = self._socket.getsockname()[1]
        start_without_signals(threading.Thread(target=self._accept, name="accept", daemon=True))
        return self.port

    def next_root(self, timeout_s: float | None) -> Caller | None:
        """The next root that has shaken hands; None when none came in time, for ever without it."""
        left_s = math.inf if timeout_s is None else timeout_s
        until_s = time.monotonic() + left_s
        while left_s > 0:
            with suppress(queue.Empty):
                return self._roots.get(timeout=min(left_s, LONGEST_WAIT_S))
            left_s = until_s - time.monotonic()
        return None

    def next_peer(self, timeout_s: float) -> Caller | None:
        """The next peer worker that has shaken hands; None when none came in time."""
        with suppress(queue.Empty):
            return self._peers.get(timeout=max(0.0, timeout_s))
        return None

    def release(self) -> None:
        """The session is over: drop its late peers and let the next root in."""
        while (peer := self.next_peer(0.0)) is not None:
            peer.sock.close()
        with self._lock:
            self._busy_with = None

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()

    def _accept(self) -> None:
        assert self._socket is not None
        while True:
            try:
                sock, name = self._socket.accept()
            except OSError:
                if self._socket.fileno() < 0:
                    return
                time.sleep(0.1)  # out of file descriptors, or a caller that left at once
                continue
            if not self._slots.acquire(blocking=False):
                sock.close()
                continue
            address = f"{name[0]}:{name[1]}"
            threading.Thread(target=self._meet, args=(sock, address), daemon=True).start()

    def _meet(self, sock: socket.socket, address: str) -> None:
        """Shake hands with one caller and sort it; a stranger costs one line in the log."""
        try:
            self._sort(sock, address)
        except HandshakeError as error:
            self._log(f"⭕ Refused {address}: {error}")
            sock.close()
        except OSError:
            sock.close()
        finally:
            self._slots.release()

    def _sort(self, sock: socket.socket, address: str) -> None:
        claimed = False

        def welcome(role: DialerRole) -> WorkerInfo:
            nonlocal claimed
            busy = self._claim(address) if role is DialerRole.ROOT else self._occupation()
            claimed = role is DialerRole.ROOT and busy is None
            return own_info(self._n_threads, busy)

        try:
            role = answer(sock, self._token, welcome, HANDSHAKE_TIMEOUT_S)
        except BaseException:
            if claimed:
                self.release()
            raise
        if claimed:
            self._roots.put(Caller(sock, address, {}))
        elif role is DialerRole.PEER:
            greeting = receive_text(sock, HANDSHAKE_TIMEOUT_S)
            if not isinstance(greeting, dict):
                raise HandshakeError(f"it sent {greeting!r:.80} in place of a greeting")
            self._peers.put(Caller(sock, address, greeting))
        else:
            sock.close()

    def _claim(self, address: str) -> str | None:
        """Take the worker for a root; or say what it is doing."""
        with self._lock:
            if self._busy_with is None:
                self._busy_with = (address, time.monotonic())
                return None
        return self._occupation() or "just ending a session"

    def _occupation(self) -> str | None:
        with self._lock:
            if self._busy_with is None:
                return None
            address, since_s = self._busy_with
        return f"in a session with {address} for {time.monotonic() - since_s:.0f} s"
