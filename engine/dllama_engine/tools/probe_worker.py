"""Does a worker of this cluster answer there?

`python -m dllama_engine.tools.probe_worker HOST PORT SECONDS`

The cluster's token comes by standard input. Exit code 0 says yes; what is wrong stands on standard
error.
"""

from __future__ import annotations

import sys

from dllama_engine.errors import EngineError
from dllama_engine.wire.connecting.handshake import probe_worker


def main(argv: list[str]) -> int:
    """Shake hands and leave; returns the exit code."""
    host, port, timeout_s = argv
    token = sys.stdin.buffer.read().strip()
    try:
        probe_worker(host, int(port), token, float(timeout_s))
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
