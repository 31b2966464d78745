"""Machines whose memory can be measured: this one by a process, others by their hosts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence

from pytest_dllama.hosts.agent.facts import last_level_cache_bytes
from pytest_dllama.hosts.base import HostError, MemoryRates, MemorySite
from pytest_dllama.hosts.command import PROGRAM, own_command

PROBE_TIMEOUT_S = 60.0  # of a probe that takes a second on a quiet machine


def local_memory(ranks: tuple[int, ...], threads: int) -> MemorySite:
    """This machine's memory.

    Raises:
        HostError: by its probe: memory was not measured.
    """
    cores, cache_bytes = len(os.sched_getaffinity(0)), last_level_cache_bytes()

    def probe(thread_counts: Sequence[int]) -> MemoryRates:
        command = own_command([PROGRAM])[:-1]
        command += memory_probe(cache_bytes, thread_counts)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise HostError(f"its memory was not measured within {PROBE_TIMEOUT_S:g} s") from None
        return probed(done.returncode, done.stdout, done.stderr)

    return MemorySite(("this machine",), ranks, threads, cores, cache_bytes, probe)


def memory_probe(cache_bytes: int | None, thread_counts: Sequence[int]) -> list[str]:
    """The module that measures memory, with its arguments."""
    return ["dllama_engine.tools.bandwidth", str(cache_bytes or 0), *map(str, thread_counts)]


def probed(code: int, out: str, err: str) -> MemoryRates:
    """What the module printed.

    Raises:
        HostError: it failed.
    """
    if code != 0:
        last_words = err.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise HostError(f"its memory cannot be measured: {last_words[0]}")
    found = json.loads(out)
    rates = {int(threads): float(rate) for threads, rate in found["bytes_per_s"].items()}
    return MemoryRates(rates, float(found["cpu_share"]))
