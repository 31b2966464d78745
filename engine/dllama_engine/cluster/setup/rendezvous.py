"""Rendezvous, the root's side: dials all workers and follows how far each is with set-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dllama_engine.cluster.session import Greeting
from dllama_engine.cluster.setup.greeting import greet
from dllama_engine.errors import WireError
from dllama_engine.telemetry.observer import Observer
from dllama_engine.wire.connecting.dialing import Address, format_address, reach
from dllama_engine.wire.connecting.handshake import (
    HANDSHAKE_TIMEOUT_S,
    DialerRole,
    WorkerInfo,
)
from dllama_engine.wire.frames import SESSION
from dllama_engine.wire.links import Links

_LOOK_S = 0.5  # at signals, while workers are waited for
_STATES = ("connected", "cached", "loaded")  # of a worker's set-up, in order


class Rendezvous:
    """The root's links while they come to be.

    Attributes:
        links: to all workers reached so far.
    """

    def __init__(
        self,
        world_size: int,
        token: bytes,
        observer: Observer,
        *,
        timeout_s: float,
        connect_timeout_s: float,
    ) -> None:
        self.links = Links(0, world_size, {}, timeout_s)
        self.links.is_setting_up = True
        self._token, self._observer = token, observer
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        # What each worker said when it was as far.
        self._reached: dict[str, dict[int, dict[str, Any]]] = {state: {} for state in _STATES}

    def reach(self, rank: int, address: Address) -> WorkerInfo:
        """Connect one worker and tell it who it is.

        Raises:
            WireError: nobody serves there.
            WorkerLost: it went away at once.
        """
        say, links, name = self._observer.say, self.links, format_address(address)
        say(f"⭕ Socket[{rank - 1}]: connecting to {name} worker")
        sock, info = reach(
            address,
            DialerRole.ROOT,
            self._token,
            rank,
            patience_s=self._connect_timeout_s,
            timeout_s=min(HANDSHAKE_TIMEOUT_S, self._timeout_s),
            tell=say,
            meanwhile=links.heartbeats.watch,
        )
        greeting = Greeting(rank, links.world_size, self._timeout_s)
        greet(links, rank, sock, name, greeting.to_json())
        say(f"⭕ Socket[{rank - 1}]: connected")
        self._observer.progress("connect", rank, links.world_size - 1, "nodes")
        return info

    def await_all(self, state: str) -> None:
        """Wait until all workers are as far; one that is gone or silent meanwhile ends it."""
        while len(self._reached[state]) < len(self.links.peers):
            self.attend()

    def said(self, state: str, rank: int) -> dict[str, Any]:
        """What a worker told when it was as far."""
        return self._reached[state][rank]

    def pass_over(self, state: str, rank: int) -> None:
        """A worker has nothing to tell of this."""
        self._reached[state][rank] = {}

    def attend(self, wake: int | None = None, wait_s: float = _LOOK_S) -> None:
        """Send and hear heartbeats, and take the message of each rank that has spoken.

        Args:
            wake: a file descriptor that ends the waiting when it can be read.
            wait_s: how long to wait for something to come, at most.
        """
        self._hear(self.links.heartbeats.watch(wait_s, wake))

    def _hear(self, spoken: Sequence[int]) -> None:
        for rank in spoken:
            answer = self.links.receive_json(SESSION, rank, timeout_s=self._timeout_s)
            if not isinstance(answer, dict):
                raise WireError(f"worker {rank} sent {answer!r:.80} as its state", rank)
            due = next((state for state in _STATES if rank not in self._reached[state]), "serving")
            if answer.get("state") != due:
                raise WireError(f"worker {rank} is {answer.get('state')}, expected {due}", rank)
            self._reached[due][rank] = answer
            if due == "connected" and not answer.get("offers"):
                self.pass_over("cached", rank)
