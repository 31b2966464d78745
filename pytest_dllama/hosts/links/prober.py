"""Probes through the same relay as the cluster's links, each on ports of its own.

They have neither jitter nor losses, which are drawn: what they tell is how far from when it is due
a message comes.

A probe's delay is from the call that sends it until the kernel has it for the receiver, by the
kernel's own stamp: how soon this process is scheduled does not count, how late the relay is does.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_dllama.emulation.topology import Topology, Way
from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.links.relay import LOOPBACK

PROBE_BYTES = 64
_HELLO = struct.Struct("!HHH")  # source, target, the port that the probe listens on
_STAMPS = 35  # SO_TIMESTAMPNS
_TIMEOUT_S = 10.0
_MOST, _LEAST = 8, 2  # probes of a way at a time
_CALM_S = 0.5  # that they may take together
_PAUSE_S = 0.025  # between two while a request runs
_RATE_S = 0.05  # how long a rate is measured
_MOST_BYTES = 8 << 20
_WAYS_A_TIME = 4  # whose rate is measured before a request


@dataclass(slots=True)
class ProbeSamples:
    """What probes took, in ns, what ways carried, in bits a second, and the messages themselves."""

    calm_ns: dict[Way, list[int]] = field(default_factory=dict)
    busy_ns: list[tuple[Way, int]] = field(default_factory=list)
    rates_bps: dict[Way, list[float]] = field(default_factory=dict)
    messages: int = 0  # of the request
    late: int = 0  # of them, by more than allowed


class Prober:
    """Probes all ways between the nodes of a cluster.

    Args:
        topology: what they should take.
        nodes: how many.
        port: where the relay takes probes.
    """

    def __init__(self, topology: Topology, nodes: int, port: int) -> None:
        self._topology, self.nodes, self._port = topology, nodes, port
        self._ends: dict[Way, tuple[socket.socket, socket.socket]] = {}
        self._next_rate = 0

    @property
    def ways(self) -> tuple[Way, ...]:
        """Every direction between two nodes."""
        pairs = [(a, b) for a in range(self.nodes) for b in range(self.nodes) if a != b]
        return tuple(pairs)

    def open(self) -> None:
        """Connect a probe for each pair of nodes.

        Raises:
            HostError: the relay does not take it.
        """
        try:
            for a, b in self.ways:
                if a < b:
                    near, far = self._connect(a, b)
                    self._ends[a, b], self._ends[b, a] = (near, far), (far, near)
        except OSError as error:
            self.close()
            raise HostError(f"the relay of the links takes no probes: {error}") from None

    def _connect(self, source: int, target: int) -> tuple[socket.socket, socket.socket]:
        with socket.create_server((LOOPBACK, 0)) as server:
            server.settimeout(_TIMEOUT_S)
            near = socket.create_connection((LOOPBACK, self._port), _TIMEOUT_S)
            near.sendall(_HELLO.pack(source, target, server.getsockname()[1]))
            far, _ = server.accept()
        for end in (near, far):
            end.settimeout(_TIMEOUT_S)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
        return near, far

    def close(self) -> None:
        """Disconnect."""
        for near, _ in self._ends.values():
            near.close()
        self._ends.clear()

    def probe(self, samples: ProbeSamples, *, rates: bool) -> None:
        """Probe every way while no request runs, and the rate of some.

        Raises:
            HostError: a probe does not come through.
        """
        total_s = sum(self._topology.way(*way).latency_ns for way in self.ways) / 1e9
        n = max(_LEAST, min(_MOST, int(_CALM_S / max(total_s, 1e-9))))
        with _host_errors():
            for _ in range(n):
                for way in self.ways:
                    samples.calm_ns.setdefault(way, []).append(self._delay_ns(way))
            for way in self._next_ways() if rates else ():
                bps = self._topology.expected_bps(*way)
                if bps is not None:
                    samples.rates_bps.setdefault(way, []).append(self._rate_bps(way, bps))

    def _next_ways(self) -> list[Way]:
        """Some of all, others the next time."""
        ways, first = self.ways, self._next_rate
        self._next_rate += _WAYS_A_TIME
        n = min(_WAYS_A_TIME, len(ways))
        return [ways[(first + i) % len(ways)] for i in range(n)]

    @contextlib.contextmanager
    def beside(self, samples: ProbeSamples) -> Iterator[None]:
        """While the body runs, a probe now and then, each on the next way."""
        ends = threading.Event()
        thread = threading.Thread(target=self._now_and_then, args=(samples, ends), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join(_TIMEOUT_S)

    def _now_and_then(self, samples: ProbeSamples, ends: threading.Event) -> None:
        n = 0
        with contextlib.suppress(OSError):  # a relay that is lost is told by who looks for it
            while not ends.wait(_PAUSE_S):
                way = self.ways[n % len(self.ways)]
                samples.busy_ns.append((way, self._delay_ns(way)))
                n += 1

    def _delay_ns(self, way: Way) -> int:
        sender, receiver = self._ends[way]
        sent_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        sender.sendall(bytes(PROBE_BYTES))
        left, stamp_ns = PROBE_BYTES, sent_ns
        while left:
            n, stamp_ns = _receive(receiver, left)
            left -= n
        return stamp_ns - sent_ns

    def _rate_bps(self, way: Way, expected_bps: float) -> float:
        """Bits a second that a way carries, see `rate_of`."""
        sender, receiver = self._ends[way]
        n_bytes = max(1 << 16, min(_MOST_BYTES, int(expected_bps * _RATE_S / 8)))
        thread = threading.Thread(target=_send, args=(sender, n_bytes), daemon=True)
        thread.start()
        arrived: list[tuple[int, int]] = []
        got = 0
        while got < n_bytes:
            n, stamp_ns = _receive(receiver, n_bytes - got)
            got += n
            arrived.append((got, stamp_ns))
        thread.join()
        return rate_of(arrived)


def rate_of(arrived: Sequence[tuple[int, int]]) -> float:
    """Bits a second from what had arrived when: the median slope over half of the stream.

    A median of slopes (Theil and Sen) does not mind single late arrivals, of a relay that had to
    wait for the processor: those are the delays' to tell.

    Args:
        arrived: bytes so far, and when in ns, in order.
    """
    half = len(arrived) // 2
    slopes = [
        8e9 * (later[0] - earlier[0]) / (later[1] - earlier[1])
        for earlier, later in zip(arrived, arrived[half:], strict=False)
        if later[1] > earlier[1]
    ]
    return statistics.median(slopes) if slopes else 0.0


def _send(sender: socket.socket, n_bytes: int) -> None:
    with contextlib.suppress(OSError):  # the receiver's loss tells
        sender.sendall(bytes(n_bytes))


@contextlib.contextmanager
def _host_errors() -> Iterator[None]:
    """What fails inside is a fault of the emulated links."""
    try:
        yield
    except OSError as error:
        raise HostError(f"a probe of the emulated links does not come through: {error}") from None


def _receive(receiver: socket.socket, most: int) -> tuple[int, int]:
    """Bytes that came, and when the last of them did by the wall clock."""
    data, control, _, _ = receiver.recvmsg(min(most, 1 << 16), 64)
    if not data:
        raise ConnectionResetError("the relay closed it")
    for level, kind, stamp in control:
        if (level, kind) == (socket.SOL_SOCKET, _STAMPS):
            seconds, ns = struct.unpack_from("qq", stamp)
            return len(data), int(seconds) * 1_000_000_000 + int(ns)
    return len(data), time.clock_gettime_ns(time.CLOCK_REALTIME)
