"""Input files: regular ones only, and no more of them than was asked for.

A pipe nobody writes into would be waited for for ever, and a device has no end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is no regular file; `strerror` says what it is.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket of the file system
            raise _refused(stat.S_IFSOCK, path) from None
        raise
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise _refused(kind, path)


def read_regular(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: as `open_regular`, or it has more bytes than the limit.
    """
    with open_regular(path) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        size = max(len(data), Path(path).stat().st_size)
        limit = f"{limit_bytes >> 20} MiB" if limit_bytes >> 20 else f"{limit_bytes} bytes"
        raise OSError(errno.EFBIG, f"has {size} bytes, at most {limit} are read", str(path))
    return data


def _refused(kind: int, path: str | os.PathLike[str]) -> OSError:
    what = _KINDS.get(kind, "no file")
    return OSError(errno.EINVAL, f"is {what}; give a regular file", str(path))
