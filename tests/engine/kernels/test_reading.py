"""How memory is read, by the CPU's maker: chosen by name or by the system, and the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from dllama_engine.kernels import cpu, reading
from dllama_engine.kernels.cpu import is_amd
from dllama_engine.kernels.matmul import q40
from dllama_engine.kernels.reading import Reading
from dllama_engine.tables.blocks import BLOCK, LANES, STEPS

GROUPS, BLOCKS = 8, 4


@pytest.mark.parametrize(
    ("name", "amd"),
    [("znver3", True), ("znver5", True), ("sapphirerapids", False), ("cortex-a76", False)],
)
def test_a_cross_compiler_is_told_the_maker_by_the_name(
    monkeypatch: pytest.MonkeyPatch, name: str, amd: bool
) -> None:
    monkeypatch.setenv("NUMBA_CPU_NAME", name)
    assert is_amd() is amd


@pytest.mark.parametrize(
    ("makers", "amd"),
    [
        (["AuthenticAMD", "AuthenticAMD"], True),
        (["HygonGenuine"], True),
        (["GenuineIntel"], False),
        (["AuthenticAMD", "GenuineIntel"], False),
        ([], False),  # AArch64 has no such line
    ],
)
def test_else_the_system_is_asked(
    monkeypatch: pytest.MonkeyPatch, makers: list[str], amd: bool
) -> None:
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    monkeypatch.setattr(cpu, "_processors", lambda: [{"vendor_id": maker} for maker in makers])
    assert is_amd() is amd


def test_amd_fetches_each_line_once_and_intel_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CPU_NAME", "znver4")
    assert len(reading.of_one_token("vnni").ahead) == len(reading.ahead()) == 1
    monkeypatch.setenv("NUMBA_CPU_NAME", "x86-64-v4")
    assert len(reading.of_one_token("avx2").ahead) == len(reading.ahead()) == 2
    assert reading.of_one_token("dotprod").streams == 2


def sums_of(inputs: tuple[Any, ...], way: Reading, distance: int) -> Any:
    """What one call sums: rows of `way.streams` groups, `distance` apart, from the first on."""
    which, streams = cpu.variant(), way.streams

    @njit(nogil=True)
    def kernel(inputs: Any, result: Any, group: int, distance: int) -> None:
        q40.sum_groups(which, streams, 1, 1, inputs, result, group, 0, distance)

    found = []
    for group in range(distance):
        result = np.empty(streams * LANES, np.float32)
        kernel(inputs, result, group, distance)
        found.append(result.reshape(streams, LANES))
    return np.stack(found, axis=1).reshape(-1, LANES).view(np.uint32)


def test_no_way_of_reading_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    weights = rng.integers(0, 256, (GROUPS, BLOCKS, STEPS, BLOCK), np.uint8)
    deltas = rng.random((GROUPS, BLOCKS, LANES), np.float32).astype(np.float16).view(np.uint16)
    values = rng.integers(-127, 128, (1, BLOCKS * BLOCK)).astype(np.int8)
    sums = np.empty((1, BLOCKS), np.int32)
    q40.block_sums(values, sums)
    inputs = weights, deltas, values, rng.random((1, BLOCKS), np.float32), sums
    ways = Reading(1, ()), Reading(2, ((3072, 1),)), Reading(4, ((2048, 1), (1024, 1)))
    found = []
    for way in ways:
        monkeypatch.setattr(reading, "of_one_token", lambda which, way=way: way)
        found.append(sums_of(inputs, way, GROUPS // way.streams))
    assert np.isfinite(found[0].view(np.float32)).all()
    assert all(np.array_equal(found[0], other) for other in found[1:])
