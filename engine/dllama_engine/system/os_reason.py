"""Why the system refused something, in words; a limit of this process is told with its value."""

from __future__ import annotations

import errno
import resource

from dllama_engine.system.sizes import format_bytes

# What an error says of a limit: which one, how shells call it, whether it counts bytes.
_LIMITS = {
    errno.EMFILE: (resource.RLIMIT_NOFILE, "ulimit -n", False),
    errno.EFBIG: (resource.RLIMIT_FSIZE, "ulimit -f", True),
    errno.EAGAIN: (resource.RLIMIT_NPROC, "ulimit -u", False),  # of a process that is to start
    errno.ENOMEM: (resource.RLIMIT_AS, "ulimit -v", True),
}


def reason_of(error: OSError) -> str:
    """The system's words, with the limit of this process that may be behind them.

    >>> reason_of(OSError(errno.EACCES, "Permission denied"))
    'Permission denied'
    """
    reason = error.strerror or str(error)
    if error.errno not in _LIMITS:
        return reason
    limit, command, is_bytes = _LIMITS[error.errno]
    allowed, _ = resource.getrlimit(limit)
    if allowed == resource.RLIM_INFINITY:
        return reason
    return f"{reason}: `{command}` allows {format_bytes(allowed) if is_bytes else allowed}"
