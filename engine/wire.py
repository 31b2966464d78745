"""Framed messages between the ranks of a cluster, counted to the byte; knows nothing of tensors.

A frame is an eight-byte header and its payload. Every rank sends the same sequence of frames that
its peer expects, so a frame of another kind, number or length is a broken protocol, never data.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
import time
from array import array
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from engine import errors
from engine.errors import EngineError, WireError, WorkerLost
from engine.handshake import WorkerInfo, probe_worker
from engine.trace import LinkTotals, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    import numpy as np

    Buffer: TypeAlias = bytes | bytearray | memoryview | np.ndarray[Any, Any]

__all__ = ["HEADER_BYTES", "OPS", "Links", "WorkerInfo", "probe_worker"]

_HEADER = struct.Struct("<IHH")  # payload bytes, kind, sequence
HEADER_BYTES = _HEADER.size
_LAST_WORDS_BYTES = 1 << 16

SYNC_WITH_ROOT = "SYNC_WITH_ROOT"
SYNC_NODE_SLICES = "SYNC_NODE_SLICES"
SYNC_LOGITS = "SYNC_LOGITS"
LOAD = "LOAD"
SESSION = "SESSION"
_LAST_WORDS = "LAST_WORDS"
OPS = (SYNC_WITH_ROOT, SYNC_NODE_SLICES, SYNC_LOGITS, LOAD, SESSION, _LAST_WORDS)
_KINDS = {op: kind for kind, op in enumerate(OPS, start=1)}
_NAMES = {kind: op for op, kind in _KINDS.items()}

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_now_ns = time.perf_counter_ns
# numpy arrays are buffers, but in the types of Python 3.12 only.
_view: Callable[[Buffer], memoryview] = memoryview  # type: ignore[assignment]


class _Peer:
    """One connected socket and where its two streams of frames stand."""

    __slots__ = (
        "address", "fd", "got", "incoming", "outgoing", "rank",
        "recv_header", "recv_sequence", "recvmsg_into", "send_header", "send_sequence",
        "sendmsg", "sock",
    )  # fmt: skip

    def __init__(self, rank: int, sock: socket.socket, address: str) -> None:
        self.rank, self.sock, self.address, self.fd = rank, sock, address, sock.fileno()
        self.sendmsg: Callable[[Any], int] = sock.sendmsg
        self.recvmsg_into: Callable[[Any], tuple[int, Any, int, Any]] = sock.recvmsg_into
        self.send_header, self.recv_header = bytearray(HEADER_BYTES), bytearray(HEADER_BYTES)
        self.send_sequence = self.recv_sequence = 0
        self.outgoing: list[memoryview] = []  # what the kernel did not take at once
        self.incoming: Buffer = b""
        self.got = 0  # bytes of the frame being received, header included

    def __str__(self) -> str:
        who = "root (rank 0)" if self.rank == 0 else f"worker {self.rank}"
        return f"{who} at {self.address}"


class Links:
    """One rank's connected sockets to its peers.

    Args:
        rank: this process.
        world_size: number of ranks, the root included.
        sockets: a connected stream socket for every peer; they belong to the links from now on.
        timeout_s: how long an exchange may make no progress at all; `math.inf` for ever.
        addresses: names of the peers for messages; by default what the sockets say.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        sockets: Mapping[int, socket.socket],
        timeout_s: float = 60.0,
        addresses: Mapping[int, str] | None = None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.timeout_s = timeout_s
        addresses = addresses or {}
        self._peers = {
            peer: _Peer(peer, sock, addresses.get(peer) or _address_of(sock))
            for peer, sock in sorted(sockets.items())
        }
        self._by_fd = {peer.fd: peer for peer in self._peers.values()}
        self._poll = select.poll()
        self._op = ""  # what is being exchanged, for messages
        zeros = [0] * world_size  # indexed by the peer's rank, as all counters are
        self._sent_bytes, self._recv_bytes = array("q", zeros), array("q", zeros)
        self._sent_messages, self._recv_messages = array("q", zeros), array("q", zeros)
        self._busy_ns = array("q", zeros)
        self._trace = Trace(self._peers)
        for sock in sockets.values():
            _prepare(sock)

    @property
    def peers(self) -> tuple[int, ...]:
        """Ranks of the connected peers, in order."""
        return tuple(self._peers)

    def address(self, rank: int) -> str:
        """Where a peer is, for messages."""
        return self._peers[rank].address

    # -- the hot path -------------------------------------------------------------------------

    def exchange(self, op: str, sends: Mapping[int, Buffer], recvs: Mapping[int, Buffer]) -> None:
        """Send one frame to each peer of `sends` and fill each buffer of `recvs`, all at once.

        Cannot deadlock, whatever the sizes: sending and receiving advance side by side.

        Raises:
            WorkerLost: a peer closed, failed, or nothing at all moved for `timeout_s`.
            WireError: a peer sent another frame than the expected one.
        """
        start_ns = _now_ns()
        self._op = op
        kind = _KINDS[op]
        n_bytes = 0
        stuck = False
        for rank, payload in sends.items():
            peer = self._peers[rank]
            size = _view(payload).nbytes
            n_bytes += size
            _HEADER.pack_into(peer.send_header, 0, size, kind, peer.send_sequence)
            peer.send_sequence = (peer.send_sequence + 1) & 0xFFFF
            self._sent_bytes[rank] += size
            self._sent_messages[rank] += 1
            try:
                sent = peer.sendmsg((peer.send_header, payload))
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise self._lost(peer, error) from error
            if sent != size + HEADER_BYTES:
                peer.outgoing = _rest((peer.send_header, payload), sent)
                stuck = True
        for rank, buffer in recvs.items():
            peer = self._peers[rank]
            peer.incoming, peer.got = buffer, 0
            n_bytes += _view(buffer).nbytes
        if stuck:
            self._pump(kind, sends, recvs, start_ns)
        elif recvs:
            self._collect(kind, recvs, start_ns)
        end_ns = _now_ns()
        for rank in sends:
            if rank not in recvs:
                self._finished(rank, end_ns - start_ns)
        self._trace.add_op(kind, start_ns, end_ns - start_ns, n_bytes)

    def _collect(self, kind: int, recvs: Mapping[int, Buffer], start_ns: int) -> None:
        """Receive from every peer, in the order of arrival; all sends are done."""
        waiting = set(recvs)
        by_fd, poll = self._by_fd, self._poll
        for rank in recvs:
            poll.register(self._peers[rank].fd, select.POLLIN)
        try:
            while waiting:
                ready = poll.poll(self._poll_ms())
                if not ready:
                    raise self._stalled(waiting, ())
                for fd, _ in ready:
                    peer = by_fd[fd]
                    if self._receive_some(peer, kind):
                        poll.unregister(fd)
                        waiting.remove(peer.rank)
                        self._finished(peer.rank, _now_ns() - start_ns)
        except BaseException:
            self._unregister_all()
            raise

    def _pump(
        self, kind: int, sends: Mapping[int, Buffer], recvs: Mapping[int, Buffer], start_ns: int
    ) -> None:
        """Advance sends and receives together: some peer's socket buffer was full."""
        receiving = set(recvs)
        sending = {rank for rank in sends if self._peers[rank].outgoing}
        try:
            for rank in receiving | sending:
                self._watch(rank, rank in receiving, rank in sending)
            while receiving or sending:
                ready = self._poll.poll(self._poll_ms())
                if not ready:
                    raise self._stalled(receiving, sending)
                for fd, event in ready:
                    peer = self._by_fd[fd]
                    rank = peer.rank
                    if rank in sending and event & ~select.POLLIN and self._send_some(peer):
                        sending.remove(rank)
                    if rank in receiving and event & _READABLE and self._receive_some(peer, kind):
                        receiving.remove(rank)
                        self._finished(rank, _now_ns() - start_ns)
                    self._watch(rank, rank in receiving, rank in sending)
        except BaseException:
            self._unregister_all()
            raise

    def _receive_some(self, peer: _Peer, kind: int) -> bool:
        """Take what has arrived of the peer's frame; True once it is whole."""
        size = _view(peer.incoming).nbytes
        buffers = (peer.recv_header, peer.incoming)
        try:
            n = peer.recvmsg_into(_rest(buffers, peer.got) if peer.got else buffers)[0]
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lost(peer, error) from error
        if n == 0:
            raise self._lost(peer, None)
        peer.got += n
        if peer.got < HEADER_BYTES:
            return False
        if _HEADER.unpack(peer.recv_header) != (size, kind, peer.recv_sequence):
            raise self._unexpected(peer, size, kind)
        if peer.got != size + HEADER_BYTES:
            return False
        self._received(peer, size)
        return True

    def _received(self, peer: _Peer, size: int) -> None:
        peer.got = 0  # the next frame has not begun
        peer.recv_sequence = (peer.recv_sequence + 1) & 0xFFFF
        self._recv_bytes[peer.rank] += size
        self._recv_messages[peer.rank] += 1

    def _finished(self, rank: int, duration_ns: int) -> None:
        self._busy_ns[rank] += duration_ns
        self._trace.add_peer(rank, duration_ns)

    def _send_some(self, peer: _Peer) -> bool:
        """Hand the kernel more of the peer's frame; True once it took all."""
        try:
            sent = peer.sendmsg(peer.outgoing)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lost(peer, error) from error
        peer.outgoing = _rest(peer.outgoing, sent)
        return not peer.outgoing

    def _watch(self, rank: int, receiving: bool, sending: bool) -> None:
        fd = self._peers[rank].fd
        if receiving or sending:
            self._poll.register(
                fd, (select.POLLIN if receiving else 0) | (select.POLLOUT if sending else 0)
            )
        else:
            self._poll.unregister(fd)

    def _unregister_all(self) -> None:
        self._poll = select.poll()

    def _poll_ms(self) -> float | None:
        return None if math.isinf(self.timeout_s) else self.timeout_s * 1e3

    # -- single frames ------------------------------------------------------------------------

    def send(self, op: str, peer: int, payload: Buffer) -> None:
        """Send one frame to one peer."""
        self.exchange(op, {peer: payload}, {})

    def receive(self, op: str, peer: int, buffer: Buffer, timeout_s: float | None = None) -> int:
        """Receive one frame of at most the buffer's size; returns the size of its payload.

        Without `timeout_s` it waits for ever: a root may be waiting for its user. The time before
        the frame's first byte is idleness and is not recorded.
        """
        self._op = op
        source = self._peers[peer]
        limit = _view(buffer).nbytes
        self._fill(source, source.recv_header, 0, timeout_s)
        start_ns = _now_ns()
        size: int
        size, kind, sequence = _HEADER.unpack(source.recv_header)
        if (kind, sequence) != (_KINDS[op], source.recv_sequence) or size > limit:
            source.incoming, source.got = b"", HEADER_BYTES
            raise self._unexpected(source, limit, _KINDS[op], at_most=True)
        if size:
            body = _view(buffer).cast("B")[:size]
            self._fill(source, body, HEADER_BYTES, self.timeout_s)
        self._received(source, size)
        duration_ns = _now_ns() - start_ns
        self._finished(peer, duration_ns)
        self._trace.add_op(kind, start_ns, duration_ns, size)
        return size

    def send_json(self, op: str, peer: int, value: object) -> None:
        """Send one frame that holds a JSON value."""
        self.send(op, peer, json.dumps(value).encode())

    def receive_json(
        self, op: str, peer: int, *, limit_bytes: int = 1 << 20, timeout_s: float | None = None
    ) -> Any:
        """Receive a frame that holds a JSON value.

        Raises:
            WireError: the payload is not JSON.
        """
        buffer = bytearray(limit_bytes)
        size = self.receive(op, peer, buffer, timeout_s)
        try:
            return json.loads(buffer[:size])
        except ValueError as error:
            raise WireError(f"{self._peers[peer]} sent {op} that is not JSON: {error}") from error

    def _fill(
        self, peer: _Peer, buffer: bytearray | memoryview, got: int, timeout_s: float | None
    ) -> None:
        """Read the whole buffer from one peer, `got` bytes of whose frame have been read."""
        view = _view(buffer)
        filled = 0
        while filled < len(view):
            try:
                n = peer.sock.recv_into(view[filled:])
            except BlockingIOError:
                self._wait_readable(peer, timeout_s)
                continue
            except OSError as error:
                raise self._lost(peer, error) from error
            if n == 0:
                raise self._lost(peer, None)
            filled += n
            peer.got = got + filled

    def _wait_readable(self, peer: _Peer, timeout_s: float | None) -> None:
        with self._watching(peer):
            timeout_ms = None if timeout_s is None or math.isinf(timeout_s) else timeout_s * 1e3
            if not self._poll.poll(timeout_ms):
                raise self._stalled({peer.rank}, (), timeout_s)

    @contextmanager
    def _watching(self, peer: _Peer) -> Iterator[None]:
        self._poll.register(peer.fd, select.POLLIN)
        try:
            yield
        finally:
            self._poll.unregister(peer.fd)

    # -- what was counted ---------------------------------------------------------------------

    def totals(self) -> LinkTotals:
        """Counters since the links were made; subtract two of them for what lies between."""
        return LinkTotals(
            self._sent_bytes[:], self._recv_bytes[:],
            self._sent_messages[:], self._recv_messages[:], self._busy_ns[:],
        )  # fmt: skip

    def take_trace(self) -> Trace:
        """Every operation since the last call, handed over."""
        trace, self._trace = self._trace, Trace(self._peers)
        return trace

    # -- ends ---------------------------------------------------------------------------------

    def say_last_words(self, error: BaseException) -> None:
        """Tell every peer why this rank leaves, where a frame can still begin; never blocks."""
        words = {
            "type": type(error).__name__,
            "message": (str(error) or type(error).__name__)[: _LAST_WORDS_BYTES // 8],
            "rank": error.rank if isinstance(error, WorkerLost) else None,
        }
        payload = json.dumps(words).encode()
        for peer in self._peers.values():
            if not peer.outgoing:
                header = _HEADER.pack(len(payload), _KINDS[_LAST_WORDS], peer.send_sequence)
                with suppress(OSError):
                    peer.sendmsg((header, payload))

    def close(self) -> None:
        """Close every socket."""
        for peer in self._peers.values():
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_WR)
            peer.sock.close()

    def _lost(self, peer: _Peer, error: OSError | None) -> EngineError:
        """The peer's own last words if it left any, else what became of its socket."""
        words = None if peer.got else self._unread_last_words(peer)
        if words is not None:
            return words
        how = "closed the connection" if error is None else f"is lost ({error.strerror or error})"
        pending = sum(part.nbytes for part in peer.outgoing)
        return WorkerLost(
            f"{peer} {how} during {self._op or 'the session'}; {pending} bytes unsent, "
            f"{peer.got} received of its frame. Look at that process's log: it may have been "
            "killed, for instance for want of memory.",
            peer.rank,
        )

    def _stalled(
        self, receiving: Container[int], sending: Container[int], timeout_s: float | None = None
    ) -> WorkerLost:
        """Nothing moved before the deadline: name every peer that is waited for."""
        late = [peer for rank, peer in self._peers.items() if peer.outgoing and rank in sending]
        late += [peer for rank, peer in self._peers.items() if rank in receiving]
        what = ", ".join(
            f"{peer} ({sum(part.nbytes for part in peer.outgoing)} bytes unsent, "
            f"{HEADER_BYTES + _view(peer.incoming).nbytes - peer.got} to receive)"
            for peer in dict.fromkeys(late)
        )
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        return WorkerLost(
            f"no progress in {self._op} for {limit_s:g} s, waiting for {what}. "
            "Is that host overloaded, suspended or unreachable? --timeout sets the deadline.",
            late[0].rank if late else None,
        )

    def _unexpected(
        self, peer: _Peer, size: int, kind: int, *, at_most: bool = False
    ) -> EngineError:
        """Another frame than the one that is due: last words, or a broken protocol."""
        got_size, got_kind, got_sequence = _HEADER.unpack(peer.recv_header)
        if got_kind == _KINDS[_LAST_WORDS] and got_size <= _LAST_WORDS_BYTES:
            read = _view(peer.incoming).cast("B")[: peer.got - HEADER_BYTES].tobytes()
            return self._last_words(peer, read, got_size)
        return WireError(
            f"{peer} broke the protocol: expected {_NAMES[kind]} number {peer.recv_sequence} of "
            f"{'at most ' if at_most else ''}{size} bytes, found "
            f"{_NAMES.get(got_kind, f'unknown kind {got_kind}')} number {got_sequence} of "
            f"{got_size} bytes. Do all nodes run the same version?"
        )

    def _last_words(self, peer: _Peer, read: bytes, size: int) -> EngineError:
        rest = bytearray(max(0, size - len(read)))
        peer.got = HEADER_BYTES
        with suppress(WireError):
            self._fill(peer, rest, HEADER_BYTES + len(read), min(1.0, self.timeout_s))
        return _revive(peer, (read + rest)[:size])

    def _unread_last_words(self, peer: _Peer) -> EngineError | None:
        """Last words among what a dead socket still holds, behind whole frames if need be."""
        with suppress(OSError, ValueError):
            data = b""
            while len(data) < 1 << 26 and (chunk := peer.sock.recv(1 << 16)):
                data += chunk
            return _find_last_words(peer, data)
        return None


def _find_last_words(peer: _Peer, data: bytes) -> EngineError | None:
    at = 0
    while at + HEADER_BYTES <= len(data):
        size, kind, _ = _HEADER.unpack_from(data, at)
        if kind == _KINDS[_LAST_WORDS]:
            return _revive(peer, data[at + HEADER_BYTES : at + HEADER_BYTES + size])
        at += HEADER_BYTES + size
    return None


def _revive(peer: _Peer, payload: bytes) -> EngineError:
    """The error that a peer reported, as an error of this process."""
    try:
        words = json.loads(payload)
        kind = getattr(errors, str(words["type"]), WireError)
        message, rank = str(words["message"]), words.get("rank")
    except (ValueError, KeyError, TypeError, AttributeError):
        return WorkerLost(f"{peer} failed and could not say why; look at its log", peer.rank)
    message = f"{peer} reports: {message}"
    if kind is WorkerLost:
        return WorkerLost(message, rank if isinstance(rank, int) else peer.rank)
    if isinstance(kind, type) and issubclass(kind, EngineError):
        return kind(message)
    return WorkerLost(message, peer.rank)


def _rest(buffers: Any, done: int) -> list[memoryview]:
    """What of the buffers lies behind the first `done` bytes."""
    rest = []
    for buffer in buffers:
        size = _view(buffer).nbytes
        if size > done:
            rest.append(_view(buffer).cast("B")[done:])
        done = max(0, done - size)
    return rest


def _prepare(sock: socket.socket) -> None:
    """Non-blocking, no Nagle, and a dead host is noticed while nothing is sent."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):  # not on every platform
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _address_of(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return "a closed socket"
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a local socket"
