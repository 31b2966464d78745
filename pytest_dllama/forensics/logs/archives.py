"""A log file -> its bytes, out of whatever archives it was packed into. Knows no text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

MAX_LOG_BYTES = 256 * 2**20  # a fork is known to have written 14 GB in an endless loop
_MAX_LAYERS = 3  # an archive in an archive in an archive
_MAX_MEMBERS = 64
_TAR_MAGIC_AT = 257
_JUNK = ("__MACOSX/", "._", ".DS_Store", "Thumbs.db")  # what packers add
_UNREADABLE = {  # what a file begins with -> what it is, and what to do
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it (unzstd)",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"\x04\x22\x4d\x18": "an lz4 archive; unpack it (unlz4)",
    b"Rar!": "a rar archive; unpack it",
    b"\x1f\x9d": "an archive of compress; unpack it (uncompress)",
    b"\xff\x06\x00\x00sNaPpY": "a snappy archive; unpack it",
    b"LPKSHHRH": "a journal of systemd; give what `journalctl --file` prints of it",
    b"ElfFile\x00": "an event log of Windows; export its text",
    b"SQLite format 3": "a database; give the log as text",
    b"{\\rtf": "a document (RTF); save it as plain text",
    b"%!PS": "a document (PostScript); give the log as text",
    b"GIF8": "a picture; give the log as text",
    b"RIFF": "a picture; give the log as text",
    b"%PDF": "a PDF; give the log as text",
    b"\x89PNG": "a picture; give the log as text",
    b"\xff\xd8\xff": "a picture; give the log as text",
}


class LogTextError(ValueError):
    """A file that is no log that could be read; the message says why."""


def unpacked(path: Path) -> tuple[list[bytes], list[str]]:
    """A regular file's bytes, those of each file in it if it is an archive, and what it was.

    Raises:
        LogTextError: no regular file, too large, a broken archive, or one that cannot be read.
        OSError: it cannot be read.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise LogTextError(f"{path}: no regular file; give a file that holds dllama's output")
    if about.st_size > MAX_LOG_BYTES:
        raise _too_large(path, f"{about.st_size >> 20} MiB")
    files, kinds = [path.read_bytes()], list[str]()
    for _ in range(_MAX_LAYERS):
        name, read = _reader(files[0])
        if read is None or len(files) != 1:
            break
        files = _unpack(path, files[0], name, read)
        kinds.append(f"{name}, unpacked" + (f": {len(files)} files" if len(files) > 1 else ""))
    for data in files:
        _refuse_unreadable(path, data)
    return files, kinds


def _reader(data: bytes) -> tuple[str, Callable[[bytes], list[bytes]] | None]:
    if data[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "tar", _tar
    kind = next((magic for magic in _READERS if data.startswith(magic)), None)
    return _READERS[kind] if kind is not None else ("", None)


def _unpack(
    path: Path, data: bytes, name: str, read: Callable[[bytes], list[bytes]]
) -> list[bytes]:
    broken = (EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError)
    try:
        files = read(data)
    except (*broken, zipfile.BadZipFile, tarfile.TarError) as error:
        raise LogTextError(f"{path}: a broken {name} file: {error}; compress it anew") from error
    except _SeveralFilesError as error:
        raise LogTextError(
            f"{path}: {name} with {error} files; unpack it and give the logs in it, at most "
            f"{_MAX_MEMBERS}"
        ) from error
    if sum(map(len, files)) > MAX_LOG_BYTES:
        raise _too_large(path, "unpacked")
    return files


class _SeveralFilesError(ValueError):
    pass


def _gzip(data: bytes) -> list[bytes]:
    with gzip.open(io.BytesIO(data)) as file:
        return [file.read(MAX_LOG_BYTES + 1)]


def _bzip2(data: bytes) -> list[bytes]:
    with bz2.open(io.BytesIO(data)) as file:
        return [file.read(MAX_LOG_BYTES + 1)]


def _xz(data: bytes) -> list[bytes]:
    with lzma.open(io.BytesIO(data)) as file:
        return [file.read(MAX_LOG_BYTES + 1)]


def _zlib(data: bytes) -> list[bytes]:
    stream = zlib.decompressobj()
    found = stream.decompress(data, MAX_LOG_BYTES + 1)
    if not stream.eof and len(found) <= MAX_LOG_BYTES:
        raise EOFError("it ends too early")
    return [found]


def _zip(data: bytes) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [e for e in archive.infolist() if not e.is_dir() and not _is_junk(e.filename)]
        _check(len(entries))
        return [_part(archive.open(entry)) for entry in sorted(entries, key=_zip_name)]


def _zip_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename


def _tar(data: bytes) -> list[bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        entries = [e for e in archive.getmembers() if e.isreg() and not _is_junk(e.name)]
        _check(len(entries))
        files = [archive.extractfile(entry) for entry in sorted(entries, key=_tar_name)]
        return [_part(file) for file in files if file is not None]


def _tar_name(entry: tarfile.TarInfo) -> str:
    return entry.name


def _part(file: IO[bytes]) -> bytes:
    with file:
        return file.read(MAX_LOG_BYTES + 1)


def _is_junk(name: str) -> bool:
    return name.startswith(_JUNK) or name.rpartition("/")[2].startswith(_JUNK)


def _check(n_files: int) -> None:
    if not 1 <= n_files <= _MAX_MEMBERS:
        raise _SeveralFilesError(n_files)


_READERS: dict[bytes, tuple[str, Callable[[bytes], list[bytes]]]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"BZh": ("bzip2", _bzip2),
    b"\xfd7zXZ\x00": ("xz", _xz),
    b"\x5d\x00\x00": ("lzma", _xz),
    **{magic: ("zlib", _zlib) for magic in (b"\x78\x01", b"\x78\x9c", b"\x78\xda")},
    b"PK\x03\x04": ("zip", _zip),
}


def _refuse_unreadable(path: Path, data: bytes) -> None:
    for magic, what in _UNREADABLE.items():
        if data.startswith(magic):
            raise LogTextError(f"{path}: {what}")


def _too_large(path: Path, found: str) -> LogTextError:
    return LogTextError(
        f"{path}: {found}, more than {MAX_LOG_BYTES >> 20} MiB; cut the repeated lines out of it"
    )
