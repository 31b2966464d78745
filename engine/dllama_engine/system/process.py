"""What every mode's process needs: signals, caches, a clean end, and no life beyond its parent's.

Must not import numpy or numba: it sets the environment that they read when imported.
"""

from __future__ import annotations

import atexit
import codecs
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from dllama_engine.version import installed_version

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE
GRACE_S = 10.0  # between asking this process to end and ending it
# The longest wait of the main thread at a time: Python looks for signals before it waits, and one
# that comes between the two is not seen until the wait is over.
LONGEST_WAIT_S = 1.0
_HIDDEN_BYTES = "dllama-hidden-bytes"
_PASSING = "dllama-py-numba-"  # what begins the names of folders that do not last


class Terminated(BaseException):
    """SIGTERM, as KeyboardInterrupt is SIGINT: unwinds everything and closes every link."""


def prepare() -> None:
    """Environment, signals and streams; before anything heavy is imported."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(kernel_cache_folder()))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the kernels have their own threads
    signal.signal(signal.SIGTERM, _on_sigterm)
    atexit.register(gc.freeze)  # nobody need look for garbage in what goes with the process
    codecs.register_error(_HIDDEN_BYTES, _unhidden)
    if sys.stdout is None or sys.stderr is None:  # started with closed descriptors
        sys.stdout = sys.stdout or open(os.devnull, "w")
        sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=_HIDDEN_BYTES)


def started() -> None:
    """All is imported: garbage is looked for from now on, and only in what comes after.

    Looking for it meanwhile takes a tenth of a worker's start and finds next to nothing, as what is
    imported stays (`cli.gc_pause`).
    """
    gc.freeze()
    gc.enable()


def _unhidden(error: UnicodeError) -> tuple[bytes, int]:
    """What an ASCII locale hid in an argument is text again; what is no UTF-8 is U+FFFD."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    hidden = error.object[error.start : error.end].encode("utf-8", "surrogateescape")
    return hidden.decode("utf-8", "replace").encode(), error.end


def kernel_cache_folder() -> Path:
    """Where compiled kernels are kept; a folder that goes with the boot if home is read-only."""
    base = user_folder("XDG_CACHE_HOME", ".cache")
    if base is not None:
        folder = base / "dllama-py" / f"numba-{installed_version('numba')}"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    import tempfile

    return _own_folder(Path(tempfile.gettempdir()) / f"{_PASSING}{os.getuid()}")


def user_folder(variable: str, below_home: str) -> Path | None:
    """A folder of this user's; None for one without a home, as in many containers."""
    if named := os.environ.get(variable):
        return Path(named)
    with suppress(RuntimeError):
        return Path.home() / below_home
    return None


def is_passing(cache_folder: Path) -> bool:
    """Whether a folder of `kernel_cache_folder` is the makeshift for a home that is read-only."""
    return cache_folder.name.startswith(_PASSING)


def _own_folder(folder: Path) -> Path:
    """A folder that only this user can have filled: its content is code that will run."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid == os.getuid() and not found.st_mode & 0o077 and folder.is_dir():
            return folder
    import tempfile

    return Path(tempfile.mkdtemp(prefix=_PASSING))


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    raise Terminated("told to end (SIGTERM)")


def ignore_further_signals() -> None:
    """While a first signal is being obeyed, a second one ends the process without a word."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


def leave_quietly(*streams: TextIO) -> None:
    """These streams' output goes nowhere any more: let nothing complain when they are closed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


@contextmanager
def signals_held() -> Iterator[None]:
    """SIGINT and SIGTERM wait until this is over.

    Around imports: dataclasses are made by `exec`, and a Python that was interrupted in one ends by
    the signal, whatever exit code it is given.
    """
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def start_without_signals(thread: threading.Thread) -> None:
    """Start a thread that leaves SIGINT and SIGTERM to the main one.

    A signal that comes while the process is suspended goes to any of its threads that takes it, and
    a main thread that waits for a lock would not hear of it. Such a thread may start no process,
    which would be deaf as well.
    """
    with signals_held():
        thread.start()


def exit_with_parent(pid: int | None) -> None:
    """End this process when process `pid` ends, or at the end of standard input if it is None.

    Standard input is for a parent on another host: over SSH it ends with the connection.
    """
    watch = _watch_stdin if pid is None else _watch_process
    args = () if pid is None else (pid or os.getppid(),)
    start_without_signals(
        threading.Thread(target=watch, args=args, name="watch-parent", daemon=True)
    )


def _watch_stdin() -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    _end()


def _watch_process(pid: int) -> None:
    descriptor = _open_process(pid)
    if descriptor is not None:
        select.select([descriptor], [], [])
    while _is_alive(pid):
        time.sleep(0.5)
    _end()


def _open_process(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None before Linux 5.3."""
    with suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(EXIT_TERMINATED)
