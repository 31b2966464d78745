"""Put an image of kernels that another machine built into this user's cache.

`python -m dllama_engine.tools.take_kernels < FILE`, for a controller that makes hosts ready.
Prints where it is kept; exit code 1 says on standard error why it cannot be used here.
"""

from __future__ import annotations

import sys

from dllama_engine.errors import EngineError
from dllama_engine.kernels.image import store


def main() -> int:
    """Verify, then keep; returns the exit code."""
    try:
        print(store.take(sys.stdin.buffer.read()))
    except (EngineError, OSError) as error:
        print(f"these kernels are not taken: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
