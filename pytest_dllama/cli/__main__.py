"""The command `pytest-dllama`, and `python -m pytest_dllama.cli`: as little as can be in between.

To `git bisect run` Python's own exit status 1 means a bad revision. One in which this package does
not even import cannot be tested, so that is told from here, before anything else is imported.
"""

from __future__ import annotations

import sys
import traceback

_BISECT = ("--bisect", "--dllama-bisect")
_CANNOT_BE_TESTED = 125  # to `git bisect run`


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        from pytest_dllama.cli.main import main as run
    except Exception:
        if not any(word in sys.argv for word in _BISECT):
            raise
        traceback.print_exc()
        return _CANNOT_BE_TESTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
