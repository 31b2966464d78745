"""A neighbour that computes: one process, one core's worth of work, for as long as it is wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_dllama.backends.process_guard import guarded

# Arithmetic alone: it takes a core's time, not the memory's.
_PROGRAM = "x = 1\nwhile True: x = x * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1"


@contextmanager
def one_busy_core() -> Iterator[None]:
    """While the body runs, another process computes; it ends with this one, however that ends."""
    command = guarded([sys.executable, "-c", _PROGRAM], str(os.getpid()))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # arithmetic has nothing to put in order
        process.wait()
