"""Framed messages between the ranks of a cluster, counted to the byte; knows nothing of tensors.

A frame is an eight-byte header and its payload. Every rank sends the same sequence of frames that
its peer expects, so a frame of another kind, number or length is a broken protocol, never data.
"""

from __future__ import annotations

import json
import math
import select
import socket
import time
from array import array
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from engine import last_words
from engine.errors import EngineError, WireError, WorkerLost
from engine.frames import (
    HEADER,
    HEADER_BYTES,
    KINDS,
    LAST_WORDS,
    LOAD,
    OPS,
    SESSION,
    SYNC_LOGITS,
    SYNC_NODE_SLICES,
    SYNC_WITH_ROOT,
    rest,
    view,
)
from engine.handshake import WorkerInfo, probe_worker
from engine.peer import Peer, late_peers, lost_peer, strange_frame
from engine.trace import LinkTotals, Trace

if TYPE_CHECKING:
    from engine.frames import Buffer

__all__ = [
    "HEADER_BYTES",
    "LOAD",
    "OPS",
    "SESSION",
    "SYNC_LOGITS",
    "SYNC_NODE_SLICES",
    "SYNC_WITH_ROOT",
    "Links",
    "WorkerInfo",
    "probe_worker",
]

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_now_ns = time.perf_counter_ns


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
            peer: Peer(peer, sock, addresses.get(peer)) for peer, sock in sorted(sockets.items())
        }
        self._by_fd = {peer.fd: peer for peer in self._peers.values()}
        self._poll = select.poll()
        self._op = ""  # what is being exchanged, for messages
        zeros = [0] * world_size  # indexed by the peer's rank, as all counters are
        self._sent_bytes, self._recv_bytes = array("q", zeros), array("q", zeros)
        self._sent_messages, self._recv_messages = array("q", zeros), array("q", zeros)
        self._busy_ns = array("q", zeros)
        self._trace = Trace(self._peers)

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
        kind = KINDS[op]
        n_bytes = 0
        stuck = False
        for rank, payload in sends.items():
            peer = self._peers[rank]
            size = view(payload).nbytes
            n_bytes += size
            HEADER.pack_into(peer.send_header, 0, size, kind, peer.send_sequence)
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
                peer.outgoing = rest((peer.send_header, payload), sent)
                stuck = True
        for rank, buffer in recvs.items():
            peer = self._peers[rank]
            peer.incoming, peer.got = buffer, 0
            n_bytes += view(buffer).nbytes
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

    def _receive_some(self, peer: Peer, kind: int) -> bool:
        """Take what has arrived of the peer's frame; True once it is whole."""
        size = view(peer.incoming).nbytes
        buffers = (peer.recv_header, peer.incoming)
        try:
            n = peer.recvmsg_into(rest(buffers, peer.got) if peer.got else buffers)[0]
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lost(peer, error) from error
        if n == 0:
            raise self._lost(peer, None)
        peer.got += n
        if peer.got < HEADER_BYTES:
            return False
        if HEADER.unpack(peer.recv_header) != (size, kind, peer.recv_sequence):
            raise self._unexpected(peer, size, kind)
        if peer.got != size + HEADER_BYTES:
            return False
        self._received(peer, size)
        return True

    def _received(self, peer: Peer, size: int) -> None:
        peer.got = 0  # the next frame has not begun
        peer.recv_sequence = (peer.recv_sequence + 1) & 0xFFFF
        self._recv_bytes[peer.rank] += size
        self._recv_messages[peer.rank] += 1

    def _finished(self, rank: int, duration_ns: int) -> None:
        self._busy_ns[rank] += duration_ns
        self._trace.add_peer(rank, duration_ns)

    def _send_some(self, peer: Peer) -> bool:
        """Hand the kernel more of the peer's frame; True once it took all."""
        try:
            sent = peer.sendmsg(peer.outgoing)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lost(peer, error) from error
        peer.outgoing = rest(peer.outgoing, sent)
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
        source.incoming, source.got = b"", 0
        limit = view(buffer).nbytes
        self._fill(source, source.recv_header, 0, timeout_s)
        start_ns = _now_ns()
        size: int
        size, kind, sequence = HEADER.unpack(source.recv_header)
        if (kind, sequence) != (KINDS[op], source.recv_sequence) or size > limit:
            source.got = HEADER_BYTES
            raise self._unexpected(source, limit, KINDS[op], at_most=True)
        if size:
            body = view(buffer).cast("B")[:size]
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
        self, peer: Peer, buffer: bytearray | memoryview, got: int, timeout_s: float | None
    ) -> None:
        """Read the whole buffer from one peer, `got` bytes of whose frame have been read."""
        whole = view(buffer)
        filled = 0
        while filled < len(whole):
            try:
                n = peer.sock.recv_into(whole[filled:])
            except BlockingIOError:
                self._wait_readable(peer, timeout_s)
                continue
            except OSError as error:
                raise self._lost(peer, error) from error
            if n == 0:
                raise self._lost(peer, None)
            filled += n
            peer.got = got + filled

    def _wait_readable(self, peer: Peer, timeout_s: float | None) -> None:
        with self._watching(peer):
            timeout_ms = None if timeout_s is None or math.isinf(timeout_s) else timeout_s * 1e3
            if not self._poll.poll(timeout_ms):
                raise self._stalled({peer.rank}, (), timeout_s)

    @contextmanager
    def _watching(self, peer: Peer) -> Iterator[None]:
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
        payload = last_words.encode(error)
        for peer in self._peers.values():
            if not peer.outgoing:
                header = HEADER.pack(len(payload), KINDS[LAST_WORDS], peer.send_sequence)
                with suppress(OSError):
                    peer.sendmsg((header, payload))

    def close(self) -> None:
        """Close every socket."""
        for peer in self._peers.values():
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_WR)
            peer.sock.close()

    def _lost(self, peer: Peer, error: OSError | None) -> EngineError:
        """The peer's own last words if it left any, else what became of its socket."""
        payload = None if peer.got else last_words.find(peer.drain())
        if payload is not None:
            return last_words.decode(payload, str(peer), peer.rank)
        return lost_peer(peer, self._op, error)

    def _stalled(
        self, receiving: Container[int], sending: Container[int], timeout_s: float | None = None
    ) -> WorkerLost:
        """Nothing moved before the deadline: name every peer that is waited for."""
        late = [
            peer
            for rank, peer in self._peers.items()
            if rank in receiving or (rank in sending and peer.outgoing)
        ]
        return late_peers(late, self._op, self.timeout_s if timeout_s is None else timeout_s)

    def _unexpected(
        self, peer: Peer, size: int, kind: int, *, at_most: bool = False
    ) -> EngineError:
        """Another frame than the one that is due: last words, or a broken protocol."""
        got_size, got_kind, _ = HEADER.unpack(peer.recv_header)
        if got_kind == KINDS[LAST_WORDS] and got_size <= last_words.MAX_BYTES:
            return self._hear_out(peer, got_size)
        return strange_frame(peer, size, kind, at_most=at_most)

    def _hear_out(self, peer: Peer, size: int) -> EngineError:
        """Read the rest of the last words; what comes counts, be it not all."""
        read = b"".join(rest((peer.incoming,), 0))[: peer.got - HEADER_BYTES]
        left = bytearray(max(0, size - len(read)))
        peer.got = HEADER_BYTES  # in mid-frame: a second loss searches nothing
        with suppress(WireError):
            self._fill(peer, left, HEADER_BYTES + len(read), min(1.0, self.timeout_s))
        return last_words.decode((read + left)[:size], str(peer), peer.rank)
