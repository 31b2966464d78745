"""The weight cache's writer: received pieces are hashed and written by a thread, beside packing.

Never the reason why a session fails: a full disk ends the keeping, with a word.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable

from dllama_engine.arrays import Bytes
from dllama_engine.loading.cache import not_kept
from dllama_engine.loading.entry import Entry
from dllama_engine.system.process import start_without_signals

_WAITING = 4  # pieces in memory that the disk has not taken yet
_LOOK_S = 0.1

_Work = tuple[int, bytes]  # index of the piece, its bytes


class Keeper:
    """Writes pieces into an entry that this process alone writes, in the order they are given.

    Args:
        entry: locked.
        n_whole: pieces from the first on that are there whatever happens.
        tell: hears why the rest is not kept.
    """

    def __init__(self, entry: Entry, n_whole: int, tell: Callable[[str], None]) -> None:
        self._entry, self._whole, self._tell = entry, n_whole, tell
        self.is_whole = False  # all that was given is on the disk
        self._work: queue.Queue[_Work | None] = queue.Queue(_WAITING)
        self._failed = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="dllama-keeping", daemon=True)
        start_without_signals(self._thread)

    def add(self, index: int, raw: Bytes) -> None:
        """Keep a copy of a piece; waits where the disk is slower than the network."""
        if not self._failed.is_set():
            self._work.put((index, raw.tobytes()))

    def finish(self, meanwhile: Callable[[], object]) -> None:
        """Wait until all is on the disk; `meanwhile` is called again and again."""
        while self._thread.is_alive():
            try:
                self._work.put(None, timeout=_LOOK_S)
                break
            except queue.Full:
                meanwhile()
        while self._thread.is_alive():
            self._thread.join(_LOOK_S)
            meanwhile()

    def abandon(self) -> None:
        """The session is over before its time: what was written stays, for the next one."""
        self._failed.set()
        self._drain()
        self._work.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                if self._failed.is_set():
                    continue
                index, data = work
                self._entry.write(index, hashlib.sha256(data).digest(), data)
                self._whole = index + 1 if index == self._whole else self._whole
            if not self._failed.is_set():
                self._entry.sync()
                self.is_whole = True
        except OSError as error:
            self._failed.set()
            self._entry.cut_after(self._whole)
            self._tell(not_kept(self._entry.path.parent, error))
            self._drain_to_the_end()

    def _drain(self) -> None:
        while True:
            try:
                self._work.get_nowait()
            except queue.Empty:
                return

    def _drain_to_the_end(self) -> None:
        """Whoever waits for room in the queue must not wait for a disk that is full."""
        while self._work.get() is not None:
            pass
