"""Emulated boards that were not kept: the figures of their cell are not believed."""

from __future__ import annotations

import pytest

from benchmarks.emulation.boards import HEAD, row
from pytest_dllama.metrics.boards import computing
from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.emulation import EmulationRecord, RankCompute
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.terminal.summary import summary_lines
from pytest_dllama.validity.boards import board_faults
from tests.plugin.report import report_runs
from tests.plugin.validity.samples import sample

READ = 8_000_000, 4_000_000
RATE = 1e9
SAMPLE = sample(60.0)


def _sample(*ranks_ms: float) -> Sample:
    """Of ranks that compute so long a token in two parts, wait, and read a prompt."""
    parts = [
        PartTime(phase=phase, part=part, rank=rank, ms=ms)
        for rank, total in enumerate(ranks_ms)
        for phase, part, ms in (
            ("decode", "qkv", 0.25 * total),
            ("decode", "exchange-copy", 0.75 * total),
            ("decode", "exchange-wait", 50.0),
            ("prefill", "qkv", 70.0),
        )
    ]
    return SAMPLE.model_copy(update={"parts": tuple(parts)})


def test_computing_is_the_median_of_what_each_rank_decoded() -> None:
    found = computing(READ, RATE, [_sample(8.1, 4.0), _sample(8.3, 4.1), _sample(9.9, 4.9)])
    assert [(one.rank, one.read_bytes, one.set_ms) for one in found] == [
        (0, 8_000_000, 8.0),
        (1, 4_000_000, 4.0),
    ]
    assert [one.ms for one in found] == pytest.approx([8.3, 4.1])
    assert board_faults(found) == []


def test_without_a_board_or_without_spans_nothing_is_told() -> None:
    assert computing(READ, None, [_sample(8.0, 4.0)]) == ()
    assert computing((), RATE, [_sample(8.0, 4.0)]) == ()
    assert computing(READ, RATE, [_sample()]) == ()


def test_a_row_of_the_benchmark_is_the_rank_that_is_off_the_most() -> None:
    cell = report_runs.cell("tiny", 2, [12.5])
    computed = computing(READ, RATE, [_sample(8.1, 4.4)])
    found = row("pi4x2-1gbe", cell.model_copy(update={"computing": computed}))
    assert found[:6] == ("pi4x2-1gbe", "tiny", "4.00", "4.000", "4.400", "+10.0%")
    assert len(found) == len(HEAD) == len(row("pi4x2-1gbe", cell))


@pytest.mark.parametrize(
    ("ms", "message"),
    [
        (8.41, "this machine is too slow or too crowded to be so many of that board"),
        (7.59, "the engine did not keep the board's rate"),
    ],
)
def test_more_than_five_percent_off_is_a_fault(ms: float, message: str) -> None:
    (fault,) = board_faults(computing(READ, RATE, [_sample(ms, 4.0)]))
    assert fault.kind == "board"
    assert fault.text.startswith(
        f"board: computing took {ms:.3f} ms a token on rank 0, set are 8.000 ms (8.00 MB read); 5% "
        "off are allowed, and 1 of 2 ranks are"
    )
    assert message in fault.text


def test_the_table_says_what_was_set_and_what_was_kept() -> None:
    computed = (
        RankCompute(rank=0, read_bytes=8_000_000, set_ms=8.0, ms=8.2),
        RankCompute(rank=1, read_bytes=4_000_000, set_ms=4.0, ms=4.04),
    )
    cell = report_runs.cell("tiny", 2, [1.0]).model_copy(update={"computing": computed})
    emulation = EmulationRecord(
        text="pi4x2-1gbe", network="latency=0.1ms; memory=2.84GB/s", seed=1, board="pi4"
    )
    run = report_runs.run([cell]).model_copy(update={"emulation": emulation})
    english, korean = render(run, "en"), render(run, "ko")
    assert "EMULATED boards: `pi4x2-1gbe`" in english.splitlines()[0]
    assert "에뮬레이션(EMULATED) 보드: `pi4x2-1gbe`" in korean.splitlines()[0]
    assert "The nodes were EMULATED boards" in english
    assert "4.00-8.00 | 4.000-8.000 | 4.040-8.200 | +2.5%" in english
    lines = summary_lines(run)
    assert lines[0].startswith("EMULATED boards (pi4x2-1gbe: latency=0.1ms; memory=2.84GB/s)")
    assert (
        "EMULATED boards of tiny-2: computing 4.040-8.200 ms a token (set 4.000-8.000; off by "
        "+2.5%)"
    ) in lines
