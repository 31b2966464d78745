"""Failure attribution: which rank a failed link is blamed on, and the error that says so.

What a peer reported when it left (its error frame) comes first, else what became of its socket. No
rank takes a peer's word that it is itself to blame: then the blame is another's, or the link's.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from dllama_engine.errors import EngineError, WireError, WorkerLost
from dllama_engine.tables.links import GOT, HEADER_BYTES, RECV_SEQUENCE, TO_RECV
from dllama_engine.wire import error_frame
from dllama_engine.wire.frames import ERROR, HEADER, HEARTBEAT_FRAME, KINDS, NAMES, OPS
from dllama_engine.wire.peer import Peer

_REPORTS_S = 1.0  # for error frames of other peers
_STRAY_MS = 100  # for bytes that explain data that cannot be


class FailureAttribution:
    """Decides which rank a failure is blamed on; every method returns the error to raise.

    Args:
        rank: this process.
        timeout_s: how long a peer may be silent.
        peers: tells the connected peers of now.
    """

    def __init__(self, rank: int, timeout_s: float, peers: Callable[[], Sequence[Peer]]) -> None:
        self._rank, self._timeout_s, self._peers = rank, timeout_s, peers

    def lost(self, peer: Peer, op: str, error: OSError | None) -> EngineError:
        """The error of a connection that failed during `op` or, without `error`, was closed."""
        return self._reattributed(peer, _lost(peer, op, error))

    def reported(self, peer: Peer, read: bytes, size: int) -> EngineError:
        """The error of a peer's error frame: `size` bytes, of which some were `read`."""
        return self._reattributed(peer, _read_report(peer, read, size, self._timeout_s))

    def unexpected(
        self, peer: Peer, read: bytes, size: int, kind: int, *, at_most: bool = False
    ) -> EngineError:
        """The error of another frame than the one due; its payload was `read` so far."""
        error = _unexpected(peer, read, size, kind, self._timeout_s, at_most=at_most)
        return self._reattributed(peer, error)

    def stalled(self, op: str) -> EngineError:
        """The error of an operation in which nothing moved for the timeout."""
        error = _stalled(self._peers(), op, self._timeout_s, listens=self._rank == 0)
        if isinstance(error, WireError) and error.rank == self._rank:  # a peer waits for us
            error.rank = error.witness
        return error

    def explained(self, error: EngineError, due: str | None) -> EngineError:
        """The error of data that cannot be: a peer's whose next bytes explain it, or itself."""
        return _misplaced(self._peers(), error, (due,) if due else ())

    def _reattributed(self, peer: Peer, error: EngineError) -> EngineError:
        """The error; where a peer blames this very rank, blamed on somebody else.

        On another peer whose bytes are out of place (this rank then waited for the rest of a frame
        and kept its own peers waiting); else on the link between the two.
        """
        if not isinstance(error, WireError) or error.rank != self._rank:
            return error
        error.rank = error.witness or peer.rank
        others = [other for other in self._peers() if other is not peer and not other.got]
        return _misplaced(others, error, OPS)


def _lost(peer: Peer, op: str, error: OSError | None) -> EngineError:
    """What the peer reported if it did, else what became of its socket."""
    payload = None if peer.got else error_frame.find(peer.drain())
    if payload is not None:
        return error_frame.decode(payload, str(peer), peer.rank)
    return lost_peer(peer, op, error)


def _stalled(peers: Sequence[Peer], op: str, timeout_s: float, *, listens: bool) -> EngineError:
    """Nothing moved before the deadline: name the peer that is waited for.

    Whoever waits for the same one says so about now. The root `listens` to them for a moment: a
    peer that it waits for may itself be waiting for the one that is gone.
    """
    by_rank = {peer.rank: peer for peer in peers}
    late = [peer for peer in peers if peer.unsent_bytes or peer.unread_bytes]
    reports = _reports(peers, timeout_s) if listens else {}
    alone = [peer for peer in late if peer.rank not in reports]
    named = [
        report
        for report in reports.values()
        if isinstance(report, WireError) and report.rank and report.rank not in reports
    ]
    if named and named[0].rank not in [peer.rank for peer in alone]:
        return named[0]
    if named:
        alone = [by_rank[named[0].rank or 0]]
    elif not alone and reports:
        return next(iter(reports.values()))
    return late_peers(alone, op, timeout_s)


def _reports(peers: Sequence[Peer], timeout_s: float) -> dict[int, EngineError]:
    """Errors that peers report which leave within a moment, by rank."""
    reports: dict[int, EngineError] = {}
    silent = {peer.sock.fileno(): peer for peer in peers if not peer.got}
    until_s = time.monotonic() + min(_REPORTS_S, timeout_s)
    poll = select.poll()
    for descriptor in silent:
        poll.register(descriptor, select.POLLIN)
    while len(silent) > 1 and (left_s := until_s - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left_s * 1e3):
            poll.unregister(descriptor)
            peer = silent.pop(descriptor)
            if payload := error_frame.find(peer.drain()):
                reports[peer.rank] = error_frame.decode(payload, str(peer), peer.rank)
    return reports


def _misplaced(peers: Sequence[Peer], error: EngineError, due: Collection[str]) -> EngineError:
    """The error itself, or a peer whose next bytes explain it: they begin no frame that is due.

    Then those before them were cut elsewhere than where they were sent, and were none of the data
    that they were taken for.

    Args:
        peers: whose bytes are looked at, as far as they have come.
        error: of data that cannot be.
        due: operations whose frame may come next; heartbeats and error frames always may.
    """
    waiting = {peer.sock.fileno(): peer for peer in peers}
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    for descriptor, _ in poll.poll(_STRAY_MS) if waiting else ():
        peer = waiting[descriptor]
        with suppress(OSError):
            head = peer.sock.recv(HEADER_BYTES, socket.MSG_PEEK)
            if head and not _may_follow(head, peer, due):
                return WireError(
                    f"{peer} broke the protocol: its next bytes begin no frame that is due "
                    f"({head!r}), so that what came before them cannot be trusted: {error}",
                    peer.rank,
                )
    return error


def _may_follow(head: bytes, peer: Peer, due: Collection[str]) -> bool:
    if len(head) < HEADER_BYTES or head == HEARTBEAT_FRAME:
        return True
    size: int
    size, kind, sequence = HEADER.unpack(head)
    if kind == KINDS[ERROR]:  # instead of a frame that has its number and has not begun
        return size <= error_frame.MAX_BYTES
    return NAMES.get(kind) in due and sequence == peer.link[RECV_SEQUENCE]


def _unexpected(
    peer: Peer, read: bytes, size: int, kind: int, timeout_s: float, *, at_most: bool = False
) -> EngineError:
    """Another frame than the one that is due: an error frame, or a broken protocol."""
    got_size, got_kind, _ = HEADER.unpack(peer.recv_header)
    if got_kind == KINDS[ERROR] and got_size <= error_frame.MAX_BYTES:
        return _read_report(peer, read, got_size, timeout_s)
    return _strange_frame(peer, size, kind, at_most=at_most)


def _read_report(peer: Peer, read: bytes, size: int, timeout_s: float) -> EngineError:
    """Read the rest of an error frame; what comes counts, be it not all."""
    if size > error_frame.MAX_BYTES:
        return _strange_frame(peer, error_frame.MAX_BYTES, KINDS[ERROR], at_most=True)
    left = bytearray(max(0, size - len(read)))
    # In mid-frame: a second loss searches nothing.
    peer.link[GOT], peer.link[TO_RECV] = HEADER_BYTES + len(read), HEADER_BYTES + size + 1
    with suppress(OSError, EOFError):
        peer.read_into(memoryview(left), min(1.0, timeout_s))
    return error_frame.decode((read + left)[:size], str(peer), peer.rank)


def lost_peer(peer: Peer, op: str, error: OSError | None) -> WorkerLost:
    """A peer whose connection is gone."""
    gone = (
        f"{peer} is lost ({error.strerror or error})" if error else f"{peer} closed the connection"
    )
    return WorkerLost(
        f"{gone} during {op or 'the session'}; {peer.unsent_bytes} bytes unsent, "
        f"{peer.got} received of its frame. Look at that process's log: it may have been "
        "killed, for instance for want of memory.",
        peer.rank,
    )


def late_peers(late: Sequence[Peer], op: str, timeout_s: float) -> WorkerLost:
    """Peers of which nothing moved before the deadline."""
    what = ", ".join(
        f"{peer} ({peer.unsent_bytes} bytes unsent, {peer.unread_bytes} to receive)"
        for peer in late
    )
    return WorkerLost(
        f"no progress in {op} for {timeout_s:g} s, waiting for {what}. "
        "Is that host overloaded, suspended or unreachable? --timeout sets the deadline.",
        late[0].rank if late else None,
    )


def silent_peers(silent: Sequence[Peer], timeout_s: float) -> WorkerLost:
    """Peers that sent no heartbeat before the deadline."""
    return WorkerLost(
        f"no sign of life from {', '.join(map(str, silent))} for {timeout_s:g} s. "
        "Is that host overloaded, suspended or unreachable? --timeout sets the deadline.",
        silent[0].rank,
    )


def _strange_frame(peer: Peer, size: int, kind: int, *, at_most: bool) -> WireError:
    """A frame of another kind, number or length than the one that is due."""
    got_size, got_kind, got_sequence = HEADER.unpack(peer.recv_header)
    return WireError(
        f"{peer} broke the protocol: expected {NAMES[kind]} number {peer.link[RECV_SEQUENCE]} of "
        f"{'at most ' if at_most else ''}{size} bytes, found "
        f"{NAMES.get(got_kind, f'unknown kind {got_kind}')} number {got_sequence} of "
        f"{got_size} bytes. Do all nodes run the same version?",
        peer.rank,
    )
