"""The folder that a session writes into: found writable at its start, and held by one session.

Two sessions in one folder would move each other's run files away. Who comes second is refused, and
leaves a line in the lock file by which the first one can tell it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

LOCK_FILE = ".pytest-dllama.lock"
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"  # variable: the file that a job's page shows
NEEDED_BYTES = 1 << 20  # about what a session writes beside its logs
_LOCK_BYTES = 1 << 16
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # some network file systems


class ReportFolderError(RuntimeError):
    """A folder that cannot be written, or that another session holds."""


class ReportFolder:
    """Held from `hold` to `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._was_there = True

    def hold(self) -> None:
        """Make the folder and keep other sessions out of it.

        Raises:
            ReportFolderError: it cannot be written, or another session holds it.
        """
        try:
            self._was_there = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            _try_to_write(self.path)
            self._lock = self._locked()
            os.ftruncate(self._lock, 0)
            os.write(self._lock, f"process {os.getpid()} since {_now()}\n".encode())
        except OSError as error:
            self.release()
            self._remove_if_made()
            from pytest_dllama.files.reasons import reason_of

            raise ReportFolderError(
                f"--report {self.path}: results cannot be written there "
                f"({reason_of(error)}); name a folder that can be written"
            ) from None

    def _remove_if_made(self) -> None:
        """The folder goes if it was made for this session and nothing is in it."""
        if not self._was_there:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _locked(self) -> int:
        """The lock file, locked; not one that its last holder has just removed."""
        while True:
            lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._held(lock) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    os.close(lock)
                    raise
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(self.path / LOCK_FILE)):
                    return lock
            os.close(lock)

    def _held(self, lock: int) -> ReportFolderError:
        """Say who holds it, and leave word there that it was asked for."""
        holder = _lines(lock)[:1] or ["another process"]
        with contextlib.suppress(OSError):
            os.lseek(lock, 0, os.SEEK_END)
            os.write(lock, f"process {os.getpid()} at {_now()}\n".encode())
        os.close(lock)
        return ReportFolderError(
            f"--report {self.path}: another pytest measures into this folder ({holder[0]}); "
            "wait for its end or name another folder"
        )

    def refused(self) -> list[str]:
        """Sessions that wanted the folder meanwhile, each in words."""
        return [] if self._lock is None else _lines(self._lock)[1:]

    def told_of(self, who: str) -> str:
        """A line for this session's reader about one that was refused."""
        return f"warning: {who} was refused {self.path}, where this session measures"

    def release(self) -> None:
        """Let others have it; one that was made for nothing goes."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            (self.path / LOCK_FILE).unlink()
        self._remove_if_made()
        os.close(self._lock)
        self._lock = None


def check_file(option: str, path: Path) -> None:
    """See before anything is measured that a file of results can be written.

    Raises:
        ReportFolderError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a folder, a device, a pipe that nobody reads
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        from pytest_dllama.files.reasons import reason_of

        raise ReportFolderError(
            f"{option} {path}: cannot be written ({reason_of(error)}); name another file"
        ) from None


def keep_elsewhere(name: str, text: str) -> Path | None:
    """Write what could not be written where it belongs into a temporary file; None: nowhere."""
    stem, _, suffix = name.rpartition(".")
    try:
        handle, path = tempfile.mkstemp(prefix=f"pytest-dllama-{stem}-", suffix=f".{suffix}")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return None
    return Path(path)


def _try_to_write(folder: Path) -> None:
    """As much as a session needs: a full disk is found before anything is measured."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(NEEDED_BYTES))
        file.flush()


def _lines(lock: int) -> list[str]:
    return os.pread(lock, _LOCK_BYTES, 0).decode("utf-8", "replace").splitlines()


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
