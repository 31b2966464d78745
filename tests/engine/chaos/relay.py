"""A cable on which anything may happen: carries a worker's connections, puts a fault on one."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from dllama_engine.wire.connecting.handshake import DialerRole
from tests.engine.chaos.faults import Link, Plan
from tests.engine.chaos.units import Units

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: an end is a reset


class ChaosRelay:
    """Listens for worker `rank`; the root dials it, and every worker of a higher rank.

    Args:
        rank: whose connections it carries.
        port: where that worker listens; may change.
        on_fault: called when the fault is put, with the plan.
    """

    def __init__(self, rank: int, port: int, on_fault: Callable[[Plan], None]) -> None:
        self.rank, self.port = rank, port
        self._on_fault = on_fault
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._plan: Plan | None = None
        self.counts: Counter[tuple[Link, str]] = Counter()  # units that came, by link and name
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def listens(self) -> int:
        """The port of 127.0.0.1 on which it takes connections."""
        return int(self._server.getsockname()[1])

    def begin(self, plan: Plan | None) -> None:
        """A new session: nothing of an older one is carried any more."""
        self.drop()
        with self._lock:
            self._plan = plan
            self.counts.clear()

    def drop(self) -> None:
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            _end(end)

    def close(self) -> None:
        _end(self._server)
        self.drop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.port))
                except OSError:  # nobody listens any more
                    near.close()
                    continue
                with self._lock:
                    self._ends += [near, far]
                Cable(self, near, far).start()

    def take(self, link: Link, unit: str) -> Plan | None:
        """The fault that is due at this unit, the first time it is asked for."""
        with self._lock:
            number = self.counts[link, unit]
            self.counts[link, unit] += 1
            plan = self._plan
            if plan is None or (plan.link, plan.unit, plan.number) != (link, unit, number):
                return None
            self._plan = None
        self._on_fault(plan)
        return plan


class Cable:
    """One connection and its two directions."""

    def __init__(self, relay: ChaosRelay, near: socket.socket, far: socket.socket) -> None:
        self._relay, self._near, self._far = relay, near, far
        self._is_cut = threading.Event()
        self._dialer = Units(near, dials=True)

    def start(self) -> None:
        directions = (
            (self._dialer, self._near, self._far, True),
            (Units(self._far, dials=False), self._far, self._near, False),
        )
        for direction in directions:
            threading.Thread(target=self._carry, args=direction, daemon=True).start()

    def _carry(self, units: Units, near: socket.socket, far: socket.socket, dials: bool) -> None:
        with suppress(OSError):
            for unit, data in units:
                plan = self._fault(unit, dials)
                if plan is not None and plan.cuts:
                    self._is_cut.set()
                if self._is_cut.is_set():
                    return
                if plan is not None and plan.resets:
                    self._reset(near, far)
                    return
                for piece in (data,) if plan is None else plan.pieces(data):
                    far.sendall(piece)
        if not self._is_cut.is_set():  # an end and a reset are both an end at the other side
            with suppress(OSError):
                far.shutdown(socket.SHUT_WR)

    def _reset(self, near: socket.socket, far: socket.socket) -> None:
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        with suppress(OSError):
            far.shutdown(socket.SHUT_RD)  # the other direction's thread lets go of it
        near.close()
        far.close()

    def _fault(self, unit: str, dials: bool) -> Plan | None:
        role = self._dialer.role
        if role not in (DialerRole.ROOT, DialerRole.PEER):  # nobody of the session
            return None
        dialer = 0 if role is DialerRole.ROOT else 2
        ends = (dialer, self._relay.rank) if dials else (self._relay.rank, dialer)
        return self._relay.take(ends, unit)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
