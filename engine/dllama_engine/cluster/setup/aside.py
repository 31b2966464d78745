"""Long work in a background thread, while its caller keeps the heartbeats to peers going."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

Attend = Callable[[int], object]


def aside(work: Callable[[], None], attend: Attend) -> None:
    """Have `work` done by a thread; `attend` is called until it is, and may end the waiting.

    Args:
        work: what is to be done. If `attend` raises it goes on unobserved, and ends with the
            process at the latest.
        attend: waits a while at most, or until the file descriptor that it is given can be read.

    Raises:
        BaseException: whatever `work` or `attend` raise.
    """
    ended, end = os.pipe()
    is_done = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised where it is waited for
            failures.append(error)
        finally:
            is_done.set()
            os.close(end)

    threading.Thread(target=run, name="aside", daemon=True).start()
    try:
        while not is_done.is_set():
            attend(ended)
    finally:
        os.close(ended)
    if failures:
        raise failures[0]
