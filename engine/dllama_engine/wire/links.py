"""A rank's links to its peers: single frames and JSON messages, beside the exchanges."""

from __future__ import annotations

import json
import math
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dllama_engine.errors import WireError
from dllama_engine.tables.links import (
    BUSY_NS,
    GOT,
    HEADER_BYTES,
    RECEIVED_BYTES,
    RECEIVED_MESSAGES,
    RECV_SEQUENCE,
    SEND_SEQUENCE,
    SENT,
    SENT_BYTES,
    SENT_MESSAGES,
    SPENT_NS,
    TO_RECV,
    TO_SEND,
    TRACE_ROWS,
)
from dllama_engine.wire import error_frame
from dllama_engine.wire.exchanges import LONGEST_LOOK_NS, ExchangingLinks
from dllama_engine.wire.failure_attribution import late_peers
from dllama_engine.wire.frames import ERROR, HEADER, HEARTBEAT_FRAME, KINDS, view
from dllama_engine.wire.peer import Peer
from dllama_engine.wire.suspension import SuspensionDetector

if TYPE_CHECKING:
    from dllama_engine.wire.frames import Buffer

_now_ns = time.perf_counter_ns


class Links(ExchangingLinks):
    """One rank's connected sockets to its peers: exchanges among all, and single frames.

    Made as `ExchangingLinks` is.
    """

    def send(self, op: str, peer: int, payload: Buffer) -> None:
        """Send one frame to one peer."""
        self.exchange(op, {peer: payload}, {})

    def receive(
        self,
        op: str,
        peer: int,
        buffer: Buffer,
        timeout_s: float | None = None,
        *,
        begun: bool = False,
    ) -> int:
        """Receive one frame of at most the buffer's size; returns the size of its payload.

        It waits `timeout_s` after the last heartbeat, without it for ever. The time before the
        frame's first byte is idleness and is not recorded.

        Args:
            op: what the frame is.
            peer: whose.
            buffer: is filled with the payload from its beginning on.
            timeout_s: see above.
            begun: compiled code has read the header, and what came with it into the buffer.
        """
        self._op = op
        source, kind = self._peers[peer], KINDS[op]
        link, header = source.words, source.recv_header
        whole = view(buffer)
        limit = whole.nbytes
        payload = whole.cast("B") if limit else view(b"")
        if not begun:
            self._await_header(source, timeout_s)
        start_ns = _now_ns()
        size: int
        size, got_kind, sequence = HEADER.unpack(header)
        link[TO_RECV], n_read = HEADER_BYTES + size, link[GOT] - HEADER_BYTES
        if (got_kind, sequence) != (kind, link[RECV_SEQUENCE]) or not n_read <= size <= limit:
            read = bytes(payload[:n_read])
            raise self._attribution.unexpected(source, read, limit, kind, at_most=True)
        if size > n_read:
            self._fill(source, payload[n_read:size], self.timeout_s)
        duration_ns = _now_ns() - start_ns
        link[RECV_SEQUENCE] = (link[RECV_SEQUENCE] + 1) & 0xFFFF
        link[RECEIVED_BYTES] += size
        link[RECEIVED_MESSAGES] += 1
        link[BUSY_NS] += duration_ns
        self._words[SPENT_NS] += duration_ns
        if self._words[TRACE_ROWS]:
            self._keep_records()
            self._trace.add_peer(peer, duration_ns)
            self._trace.add_op(kind, duration_ns, size)
        return size

    def _await_header(self, peer: Peer, timeout_s: float | None) -> None:
        """Read the header of a frame that is no heartbeat."""
        link, header = peer.words, peer.recv_header
        while True:
            link[GOT], link[TO_RECV] = 0, HEADER_BYTES
            self._await_frame(peer, timeout_s)
            self._fill(peer, header, timeout_s)
            if header != HEARTBEAT_FRAME:
                return
            self.heartbeats.send_due()

    def send_json(self, op: str, peer: int, value: object) -> None:
        """Send one frame that holds a JSON value, without compiled code: it may be to come."""
        target, payload = self._peers[peer], json.dumps(value).encode()
        link, start_ns = target.link, _now_ns()
        frame = HEADER.pack(len(payload), KINDS[op], int(link[SEND_SEQUENCE])) + payload
        self._op, link[SENT], link[TO_SEND] = op, 0, len(frame)
        try:
            target.sock.settimeout(None if math.isinf(self.timeout_s) else self.timeout_s)
            target.sock.sendall(frame)
        except TimeoutError:
            link[SENT] = 1  # or more: no other frame may begin
            raise late_peers([target], op, self.timeout_s) from None
        except OSError as error:
            raise self._lost(target, error) from error
        finally:
            target.sock.setblocking(False)
        link[SENT], link[SEND_SEQUENCE] = len(frame), (link[SEND_SEQUENCE] + 1) & 0xFFFF
        link[SENT_BYTES] += len(payload)
        link[SENT_MESSAGES] += 1
        link[BUSY_NS] += _now_ns() - start_ns
        self.mesh[SPENT_NS] += _now_ns() - start_ns

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
        except (ValueError, RecursionError) as error:
            raise WireError(
                f"{self._peers[peer]} sent {op} that is not JSON: {error}", peer
            ) from error

    def _await_frame(self, peer: Peer, timeout_s: float | None) -> None:
        """Wait for a frame's first byte; whoever waits for us meanwhile hears that we are there."""
        timeout_s = math.inf if timeout_s is None else timeout_s
        look_s = min(self.heartbeats.period_s, timeout_s)
        since_ns = _now_ns()
        if peer.is_readable(look_s):  # as before nearly every token
            return
        suspension = SuspensionDetector(int(1e9 * look_s) + LONGEST_LOOK_NS, since_ns)
        while True:
            since_ns += suspension.since_check_ns()
            if _now_ns() - since_ns > 1e9 * timeout_s:
                raise late_peers([peer], self._op, timeout_s)
            self.heartbeats.send_due()
            if peer.is_readable(look_s):
                return

    def _fill(self, peer: Peer, buffer: memoryview, timeout_s: float | None) -> None:
        """Read the whole buffer from one peer."""
        try:
            peer.read_into(buffer, timeout_s)
        except TimeoutError:
            raise late_peers([peer], self._op, timeout_s or 0.0) from None
        except EOFError:
            raise self._lost(peer, None) from None
        except OSError as error:
            raise self._lost(peer, error) from error

    def send_error(self, error: BaseException) -> None:
        """Tell every peer why this rank leaves, where a frame can still begin; never blocks."""
        payload = error_frame.encode(error)
        for peer in self._peers.values():
            if peer.can_begin:
                sequence = int(peer.link[SEND_SEQUENCE])
                header = HEADER.pack(len(payload), KINDS[ERROR], sequence)
                with suppress(OSError):
                    peer.sock.sendmsg((header, payload))

    def close(self) -> None:
        """Close every socket."""
        for peer in self._peers.values():
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_WR)
            peer.sock.close()
