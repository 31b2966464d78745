"""Percentiles of a cell's times, each only where there are samples enough to state it.

The unit of TTFT, TPOT and RCT is the request, so that `--repeats` says how many there are; that of
ITL is the gap between two tokens, of all requests together.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.metrics.definitions import PERCENTILE_MIN_SAMPLES, percentile
from pytest_dllama.record.cell import TIMES, Percentiles, Sample

*OF_REQUESTS, OF_GAPS = TIMES


def cell_percentiles(samples: Sequence[Sample]) -> dict[str, Percentiles]:
    """By the name of the time; a time that no request has is left out.

    >>> one = Sample(n_input_tokens=4, n_output_tokens=3, ttft_s=1.0, tpot_ms=None, rct_s=2.0,
    ...     tokens_per_s=1.5, prefill_tokens=3, prefill_s=1.0, decode_tokens=3, decode_s=1.0,
    ...     itl_ms=(400.0, 600.0))
    >>> found = cell_percentiles([one] * 7)
    >>> found["rct_s"]
    Percentiles(n=7, p50=2.0, p90=None, p95=None, p99=None)
    >>> found["itl_ms"].n, "tpot_ms" in found
    (14, False)
    """
    values: dict[str, list[float]] = {
        name: [v for sample in samples if (v := getattr(sample, name)) is not None]
        for name in OF_REQUESTS
    }
    values[OF_GAPS] = [gap for sample in samples for gap in sample.itl_ms]
    return {name: percentiles(found) for name, found in values.items() if found}


def percentiles(values: Sequence[float]) -> Percentiles:
    """Those that so many values can state."""
    return Percentiles(
        n=len(values),
        **{f"p{percent}": percentile(values, percent) for percent in PERCENTILE_MIN_SAMPLES},
    )
