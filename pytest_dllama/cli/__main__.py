"""`python -m pytest_dllama.cli`: the command `pytest-dllama` without its script."""

from __future__ import annotations

import sys

from pytest_dllama.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
