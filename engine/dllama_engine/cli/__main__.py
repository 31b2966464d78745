"""`python -m dllama_engine.cli`: the command `dllama-py` without its script."""

from __future__ import annotations

import sys

from dllama_engine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
