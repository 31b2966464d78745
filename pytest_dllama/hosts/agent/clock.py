"""This machine's clock, told as often as somebody asks."""

from __future__ import annotations

import sys
import time


def serve() -> None:
    """Answer every line of standard input with the seconds since the epoch."""
    while sys.stdin.readline():
        print(f"{time.time():.6f}", flush=True)
