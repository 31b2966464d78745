"""A log file -> its bytes, out of whatever archives it was packed into. Knows no text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

MAX_LOG_BYTES = 256 * 2**20  # a fork is known to have written 14 GB in an endless loop
_MAX_LAYERS = 3  # an archive in an archive in an archive
_TAR_MAGIC_AT = 257
_UNREADABLE = {  # what a file begins with -> what it is, and what to do
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it (unzstd)",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"\x04\x22\x4d\x18": "an lz4 archive; unpack it (unlz4)",
    b"Rar!": "a rar archive; unpack it",
    b"%PDF": "a PDF; give the log as text",
    b"\x89PNG": "a picture; give the log as text",
    b"\xff\xd8\xff": "a picture; give the log as text",
}


class LogTextError(ValueError):
    """A file that is no log that could be read; the message says why."""


def unpacked(path: Path) -> tuple[bytes, list[str]]:
    """A regular file's bytes, and what it was packed as.

    Raises:
        LogTextError: no regular file, too large, a broken archive, or one that cannot be read.
        OSError: it cannot be read.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise LogTextError(f"{path}: no regular file; give a file that holds dllama's output")
    if about.st_size > MAX_LOG_BYTES:
        raise _too_large(path, f"{about.st_size >> 20} MiB")
    data, kinds = path.read_bytes(), list[str]()
    for _ in range(_MAX_LAYERS):
        kind = next((magic for magic in _READERS if data.startswith(magic)), None)
        if kind is None:
            break
        name, read = _READERS[kind]
        data = _unpack(path, data, name, read)
        kinds.append(f"{name}, unpacked")
    _refuse_unreadable(path, data)
    return data, kinds


def _unpack(path: Path, data: bytes, name: str, read: Callable[[bytes], bytes]) -> bytes:
    try:
        inner = read(data)
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as e:
        raise LogTextError(f"{path}: a broken {name} file: {e}; compress it anew") from e
    except _SeveralFilesError as error:
        raise LogTextError(
            f"{path}: {name} with {error} files, not one; unpack it and give the logs in it"
        ) from error
    if len(inner) > MAX_LOG_BYTES:
        raise _too_large(path, "unpacked")
    return inner


class _SeveralFilesError(ValueError):
    pass


def _gzip(data: bytes) -> bytes:
    with gzip.open(io.BytesIO(data)) as file:
        return file.read(MAX_LOG_BYTES + 1)


def _bzip2(data: bytes) -> bytes:
    with bz2.open(io.BytesIO(data)) as file:
        return file.read(MAX_LOG_BYTES + 1)


def _xz(data: bytes) -> bytes:
    with lzma.open(io.BytesIO(data)) as file:
        return file.read(MAX_LOG_BYTES + 1)


def _zip(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(files) != 1:
            raise _SeveralFilesError(len(files))
        with archive.open(files[0]) as file:
            return file.read(MAX_LOG_BYTES + 1)


_READERS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"BZh": ("bzip2", _bzip2),
    b"\xfd7zXZ\x00": ("xz", _xz),
    b"PK\x03\x04": ("zip", _zip),
}


def _refuse_unreadable(path: Path, data: bytes) -> None:
    for magic, what in _UNREADABLE.items():
        if data.startswith(magic):
            raise LogTextError(f"{path}: {what}")
    if data[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        raise LogTextError(f"{path}: a tar archive; unpack it and give the logs in it")


def _too_large(path: Path, found: str) -> LogTextError:
    return LogTextError(
        f"{path}: {found}, more than {MAX_LOG_BYTES >> 20} MiB; cut the repeated lines out of it"
    )
