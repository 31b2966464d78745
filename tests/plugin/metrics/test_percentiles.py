"""Percentiles are stated only where there are samples enough: 7, 44, 90 and 459 of them."""

from __future__ import annotations

import pytest

from pytest_dllama.metrics.percentiles import cell_percentiles, percentiles
from pytest_dllama.record.cell import CellRecord, Sample
from pytest_dllama.report.terminal.beside import percentile_lines


def _sample(rct_s: float, n_output: int = 3) -> Sample:
    return Sample(
        n_input_tokens=4,
        n_output_tokens=n_output,
        ttft_s=rct_s / 2,
        tpot_ms=None if n_output < 2 else rct_s * 250,
        rct_s=rct_s,
        tokens_per_s=n_output / rct_s,
        prefill_tokens=3,
        prefill_s=rct_s / 4,
        decode_tokens=n_output,
        decode_s=rct_s / 2,
        itl_ms=(rct_s, 2 * rct_s)[: n_output - 1],
    )


@pytest.mark.parametrize(
    ("n", "known"),
    [
        (6, []),
        (7, ["p50"]),
        (43, ["p50"]),
        (44, ["p50", "p90"]),
        (89, ["p50", "p90"]),
        (90, ["p50", "p90", "p95"]),
        (458, ["p50", "p90", "p95"]),
        (459, ["p50", "p90", "p95", "p99"]),
    ],
)
def test_each_needs_its_number_of_samples(n: int, known: list[str]) -> None:
    found = percentiles([float(value) for value in range(1, n + 1)])
    assert found.n == n
    assert [name for name, value in found.model_dump().items() if name != "n" and value] == known
    assert found.p50 in (None, (n + 1) // 2)  # nearest rank: an observed value


def test_requests_are_the_unit_of_some_and_gaps_of_one() -> None:
    found = cell_percentiles([_sample(rct_s) for rct_s in (4.0, 1.0, 3.0, 2.0)])
    assert {name: value.n for name, value in found.items()} == {
        "ttft_s": 4, "tpot_ms": 4, "rct_s": 4, "itl_ms": 8,
    }  # fmt: skip
    assert found["rct_s"].p50 is None  # four requests state nothing
    assert found["itl_ms"].p50 == 3.0  # of 1 2 2 3 4 4 6 8: eight gaps do


def test_what_no_request_has_is_left_out() -> None:
    assert "tpot_ms" not in cell_percentiles([_sample(1.0, n_output=1)] * 7)


def test_the_terminal_shows_cells_with_enough_requests() -> None:
    samples = tuple(_sample(0.002 * n) for n in range(1, 45))
    few = CellRecord(model="few", nodes=2, status="ok", samples=samples[:4])
    many = CellRecord(
        model="many", nodes=2, status="ok", samples=samples, percentiles=cell_percentiles(samples)
    )
    assert percentile_lines([few]) == []
    assert percentile_lines([few, many]) == [
        "cell    of requests  n   P50    P90   P95  P99",
        "many-2  ttft_s       44  0.022  0.04  -    -",
        "many-2  tpot_ms      44  11     20    -    -",
        "many-2  rct_s        44  0.044  0.08  -    -",
    ]
