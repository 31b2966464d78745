"""Emulated memory bandwidth, that of another board: `--memory-rate 8.5GB/s`.

Decoding is bound by memory: a token takes at least the bytes of weights and cache that a rank reads
for it, divided by the rate. A process with this option takes that long between two exchanges, or as
long as its machine needs if that is more, and sleeps for the rest. Numbers and bytes stay what they
are. What a prompt's batches compute beyond reading each weight once is as fast as this machine.
"""

from __future__ import annotations

import math
import re

from dllama_engine.errors import RequestError

UNLIMITED = math.inf
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([kMG])B/s")
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}
_LEAST, _MOST = 1e5, 1e13  # bytes a second


def parse_memory_rate(text: str) -> float:
    """Bytes a second.

    >>> parse_memory_rate("8.5GB/s")
    8500000000.0

    Raises:
        RequestError: no rate, or one that no memory has.
    """
    match = _NUMBER.fullmatch(text.strip())
    rate = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not _LEAST <= rate <= _MOST:
        raise RequestError(
            f"--memory-rate {text!r}: write a rate from 100kB/s to 10000GB/s with its unit "
            "(kB/s, MB/s, GB/s), as in 8.5GB/s"
        )
    return rate


def rate_text(bytes_per_s: float) -> str:
    """As it is written.

    >>> rate_text(8.5e9), rate_text(2e5)
    ('8.5GB/s', '0.0002GB/s')
    """
    return f"{bytes_per_s / 1e9:g}GB/s"


def told(bytes_per_s: float) -> str:
    """What a process that emulates says when it starts."""
    return (
        f"⚠️  EMULATED memory: --memory-rate {rate_text(bytes_per_s)}, a board slower than this "
        "machine"
    )
