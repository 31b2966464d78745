"""What the kernel itself counted of the links: TCP_INFO of each socket, and its interfaces.

Linux only; elsewhere, and where a link is no TCP socket, nothing is told.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dllama_engine.telemetry.events.ranks import NicCount, TcpCount
from dllama_engine.wire.links import Links

_NET_DEV = Path("/proc/net/dev")
# struct tcp_info of linux/tcp.h: kernels append fields and never move one. Offsets in bytes.
_RTT, _RTTVAR, _TOTAL_RETRANS, _MIN_RTT, _DATA_SEGS_OUT = 68, 72, 100, 148, 156
_DELIVERY_RATE, _END = 160, 168
_SIOCGIFADDR = 0x8915  # linux/sockios.h
_NAME_BYTES, _REQUEST_BYTES, _ADDRESS_AT = 16, 40, 20  # struct ifreq with an IPv4 address


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """One socket's state, as the kernel keeps it; counters since it was connected."""

    rtt_us: int  # smoothed round trip (RFC 6298), and its mean deviation
    rttvar_us: int
    min_rtt_us: int
    retransmits: int  # segments that were sent once more
    segments: int  # with data, sent; those sent once more among them
    delivery_mbps: float  # the newest rate at which data arrived at the peer


def tcp_info(sock: socket.socket) -> TcpInfo | None:
    """What the kernel knows of a TCP socket; None where it does not tell (before Linux 4.9)."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        data = sock.getsockopt(socket.IPPROTO_TCP, option, 256)
    except OSError:
        return None
    if len(data) < _END:
        return None

    def u32(at: int) -> int:
        return int(struct.unpack_from("=I", data, at)[0])

    (rate,) = struct.unpack_from("=Q", data, _DELIVERY_RATE)
    return TcpInfo(
        rtt_us=u32(_RTT),
        rttvar_us=u32(_RTTVAR),
        min_rtt_us=u32(_MIN_RTT),
        retransmits=u32(_TOTAL_RETRANS),
        segments=u32(_DATA_SEGS_OUT),
        delivery_mbps=8 * rate / 1e6,
    )


@dataclass(frozen=True, slots=True)
class Interface:
    """A row of /proc/net/dev: counters since the interface is up."""

    recv_bytes: int
    recv_errors: int  # errors and drops
    sent_bytes: int
    sent_errors: int


def interfaces(read: Callable[[], str] = _NET_DEV.read_text) -> dict[str, Interface]:
    """Every interface's counters, by its name; none where there is no such file."""
    try:
        lines = read().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, colon, rest = line.partition(":")
        numbers = rest.split()
        if colon and len(numbers) >= 12 and all(n.isdecimal() for n in numbers):
            n = [int(number) for number in numbers]
            found[name.strip()] = Interface(n[0], n[2] + n[3], n[8], n[10] + n[11])
    return found


def interface_of(sock: socket.socket) -> str | None:
    """Name of the interface that has a socket's own IPv4 address; None if none is found."""
    if sock.family != socket.AF_INET:
        return None
    try:
        own = sock.getsockname()[0]
        if own.startswith("127."):
            return "lo"
        return next((name for _, name in socket.if_nameindex() if _address(name) == own), None)
    except OSError:
        return None


def _address(interface: str) -> str | None:
    """The IPv4 address of an interface."""
    from fcntl import ioctl

    request = interface.encode()[: _NAME_BYTES - 1].ljust(_REQUEST_BYTES, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = ioctl(any_socket, _SIOCGIFADDR, request)
        except OSError:  # it has none
            return None
    return socket.inet_ntoa(answer[_ADDRESS_AT : _ADDRESS_AT + 4])


class KernelCounters:
    """A rank's sockets and their interfaces, from when it is made or `restart`ed.

    Args:
        links: of the rank; they stay connected until all is `told`.
    """

    def __init__(self, links: Links) -> None:
        self._links, self._sockets = links, links.sockets
        self._names = {peer: interface_of(sock) for peer, sock in self._sockets.items()}
        self.restart()

    def restart(self) -> None:
        """What was counted so far is not of the request."""
        self._tcp = {peer: tcp_info(sock) for peer, sock in self._sockets.items()}
        self._nics, self._own = interfaces(), self._moved()

    def told(self) -> tuple[tuple[TcpCount, ...], tuple[NicCount, ...]]:
        """As the event stream has them, each link and each interface that carries one."""
        tcp = (self._link(peer, sock) for peer, sock in self._sockets.items())
        return tuple(count for count in tcp if count), tuple(self._interfaces())

    def _moved(self) -> dict[int, tuple[int, int]]:
        """Bytes sent and received by peer, framing among them."""
        return {
            link.peer: (
                link.sent_payload_bytes + link.sent_framing_bytes,
                link.recv_payload_bytes + link.recv_framing_bytes,
            )
            for link in self._links.totals().counts(self._links.rank)
        }

    def _link(self, peer: int, sock: socket.socket) -> TcpCount | None:
        before, now = self._tcp[peer], tcp_info(sock)
        if before is None or now is None:
            return None
        return TcpCount(
            peer=peer,
            interface=self._names[peer],
            rtt_us=now.rtt_us,
            rttvar_us=now.rttvar_us,
            min_rtt_us=now.min_rtt_us,
            retransmits=now.retransmits - before.retransmits,
            segments=now.segments - before.segments,
            delivery_mbps=now.delivery_mbps,
        )

    def _interfaces(self) -> Iterable[NicCount]:
        after, own = interfaces(), self._moved()
        for name in sorted({name for name in self._names.values() if name}):
            if name not in after or name not in self._nics:
                continue
            a, b = self._nics[name], after[name]
            here = [peer for peer, carrier in self._names.items() if carrier == name]
            yield NicCount(
                name=name,
                sent_bytes=b.sent_bytes - a.sent_bytes,
                recv_bytes=b.recv_bytes - a.recv_bytes,
                sent_errors=b.sent_errors - a.sent_errors,
                recv_errors=b.recv_errors - a.recv_errors,
                own_sent_bytes=sum(own[peer][0] - self._own[peer][0] for peer in here),
                own_recv_bytes=sum(own[peer][1] - self._own[peer][1] for peer in here),
            )
