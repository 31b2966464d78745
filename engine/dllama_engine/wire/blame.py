"""Whose fault a failed link is, by all that one rank can see of its peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dllama_engine.errors import EngineError, WireError
from dllama_engine.wire import culprit
from dllama_engine.wire.frames import OPS
from dllama_engine.wire.peer import Peer


class Blame:
    """Finds out whose fault it is.

    Args:
        rank: this process.
        timeout_s: how long a peer may be silent.
        peers: tells the connected peers of now.
    """

    def __init__(self, rank: int, timeout_s: float, peers: Callable[[], Sequence[Peer]]) -> None:
        self._rank, self._timeout_s, self._peers = rank, timeout_s, peers

    def lost(self, peer: Peer, op: str, error: OSError | None) -> EngineError:
        """Of a peer whose connection failed during `op` or, without an error, was closed."""
        return self._of(peer, culprit.lost(peer, op, error))

    def hear_out(self, peer: Peer, read: bytes, size: int) -> EngineError:
        """What a peer's last words tell, of `size` bytes, of which some were `read`."""
        return self._of(peer, culprit.hear_out(peer, read, size, self._timeout_s))

    def unexpected(
        self, peer: Peer, read: bytes, size: int, kind: int, *, at_most: bool = False
    ) -> EngineError:
        """Of another frame than the one that is due; its payload was `read` so far."""
        error = culprit.unexpected(peer, read, size, kind, self._timeout_s, at_most=at_most)
        return self._of(peer, error)

    def stalled(self, op: str) -> EngineError:
        """Of an operation in which nothing moved for the timeout."""
        error = culprit.stalled(self._peers(), op, self._timeout_s, listens=self._rank == 0)
        if isinstance(error, WireError) and error.rank == self._rank:  # a peer waits for us
            error.rank = error.witness
        return error

    def explained(self, error: EngineError, due: str | None) -> EngineError:
        """Of data that cannot be: the peer whose next bytes explain it, or the error itself."""
        return culprit.misplaced(self._peers(), error, (due,) if due else ())

    def _of(self, peer: Peer, error: EngineError) -> EngineError:
        """The error, but this rank does not take a peer's blame.

        It is another peer's whose bytes are out of place, as this rank then waited for the rest of
        a frame and kept its own peers waiting; else that of the link between the two.
        """
        if not isinstance(error, WireError) or error.rank != self._rank:
            return error
        error.rank = error.witness or peer.rank
        others = [other for other in self._peers() if other is not peer and not other.got]
        return culprit.misplaced(others, error, OPS)
