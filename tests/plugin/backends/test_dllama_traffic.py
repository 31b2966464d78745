"""Closed forms against the hand-written report, the golden logs and each other."""

from __future__ import annotations

import doctest

import pytest

from pytest_dllama.backends.dllama.printed import traffic
from pytest_dllama.backends.dllama.printed.traffic import (
    FORK_COLLECTIVES,
    Build,
    Collective,
    PrintedStep,
    Shape,
    find_build,
    find_threads,
    monitor_figures,
    pass_traffic,
    row_traffic,
)

LLAMA_13B = Shape(dim=5120, n_layers=40, vocab_size=32000)
LLAMA_30B = Shape(dim=6656, n_layers=60, vocab_size=32000)
LLAMA_160M = Shape(dim=768, n_layers=12, vocab_size=32000)
REPORT_BUILD = Build(Collective.STAR_SLICES, "q80")
REPORT_ROWS = (6, *[1] * 122)  # one batch of 6 prompt tokens, 122 decoded ones
MIB = 2**20

# model, nodes -> total operations, total MB (as printed), MiB that really crossed the root's links
REPORT = [
    (LLAMA_13B, 2, 52_352, "675.04", "169.7"),
    (LLAMA_13B, 4, 73_088, "1309.80", "816.1"),
    (LLAMA_13B, 8, 114_560, "2573.48", "3378.1"),
    (LLAMA_30B, 2, 77_952, "1227.59", "321.8"),
    (LLAMA_30B, 4, 108_928, "2461.67", "1575.4"),
    (LLAMA_30B, 8, 170_880, "4923.98", "6562.8"),
]


@pytest.mark.parametrize(("shape", "nodes", "operations", "total_mb", "real_mib"), REPORT)
def test_hand_written_report_to_the_last_digit(
    shape: Shape, nodes: int, operations: int, total_mb: str, real_mib: str
) -> None:
    figures = monitor_figures(shape, nodes, REPORT_BUILD, 4, REPORT_ROWS)
    assert figures.operations == operations
    assert f"{figures.bytes / MIB:.2f}" == total_mb
    real_bytes = sum(pass_traffic(shape, nodes, REPORT_BUILD, rows).bytes for rows in REPORT_ROWS)
    assert f"{real_bytes / MIB:.1f}" == real_mib
    assert find_threads(shape, nodes, REPORT_BUILD, REPORT_ROWS, operations, float(total_mb)) == 4


def test_star_of_slices_moves_n_minus_1_times_n_plus_1_vectors_a_sync() -> None:
    for nodes in (2, 4, 8):
        row = row_traffic(LLAMA_13B, nodes, REPORT_BUILD)
        rest = (nodes - 1) * (4 * 5120 + 4 * 32000 // nodes)
        assert row.bytes - rest == (nodes - 1) * (nodes + 1) * 80 * 5440


def test_upstream_sample_is_all_to_all_in_q80() -> None:
    steps = [PrintedStep(5, 110, 408), PrintedStep(1, 22, 81)]
    build = find_build(LLAMA_160M, 2, steps, (Collective.ALL_TO_ALL,))
    assert build == Build(Collective.ALL_TO_ALL, "q80")


def test_fork_sample_is_star_all_reduce_in_f32_and_its_monitor_adds_up() -> None:
    steps = [PrintedStep(5, 1000, 985), PrintedStep(1, 200, 197)]
    build = find_build(LLAMA_160M, 2, steps, FORK_COLLECTIVES)
    assert build == Build(Collective.STAR_ALL_REDUCE, "f32")
    rows = (5, *[1] * 43)
    assert monitor_figures(LLAMA_160M, 2, build, 1, rows).operations == 2448
    assert find_threads(LLAMA_160M, 2, build, rows, 2448, 22.52) == 1


def test_one_kb_beside_the_form_is_no_build() -> None:
    assert find_build(LLAMA_160M, 2, [PrintedStep(1, 23, 81)], Collective) is None
    assert find_build(LLAMA_160M, 2, [], Collective) is None


def test_threads_need_both_figures() -> None:
    args = (LLAMA_13B, 2, REPORT_BUILD, REPORT_ROWS)
    assert find_threads(*args, 52_352, 675.06) is None
    assert find_threads(*args, 52_353, 675.04) is None


def test_ring_moves_less_over_the_root_than_a_star() -> None:
    """2 (n-1)/n buffers each way, whatever n: what a ring is for."""
    star = row_traffic(LLAMA_13B, 8, Build(Collective.STAR_ALL_REDUCE, "q80"))
    ring = row_traffic(LLAMA_13B, 8, Build(Collective.RING_ALL_REDUCE, "q80"))
    assert ring.recv_bytes == 2 * 7 * (80 * 5440 + 128_000) // 8
    assert ring.bytes < star.bytes


def test_doctests() -> None:
    assert doctest.testmod(traffic).failed == 0
