"""A metric of single repeats, as far as the samples of a run file tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_dllama.metrics.definitions import rate_per_s
from pytest_dllama.record.cell import CellRecord, Sample

# Of other metrics (sync share, peak RSS ..) a run file has the median over the repeats alone.
OF_SAMPLE: Mapping[str, Callable[[Sample], float | None]] = {
    "ttft_s": lambda sample: sample.ttft_s,
    "tpot_ms": lambda sample: sample.tpot_ms,
    "steady_tpot_ms": lambda sample: sample.steady_tpot_ms,
    "rct_s": lambda sample: sample.rct_s,
    "tokens_per_s": lambda sample: sample.tokens_per_s,
    "prefill_tokens_per_s": lambda sample: rate_per_s(sample.prefill_tokens, sample.prefill_s),
    "decode_tokens_per_s": lambda sample: rate_per_s(sample.decode_tokens, sample.decode_s),
    "load_s": lambda sample: sample.load_s,
}


def values_of(cell: CellRecord, metric: str) -> list[float]:
    """One a repeat that has the metric, in its unit; none where samples do not tell it."""
    of_sample = OF_SAMPLE.get(metric)
    if of_sample is None:
        return []
    told = (of_sample(sample) for sample in cell.samples)
    return [value for value in told if value is not None]


def values_or_median(cell: CellRecord, metric: str) -> list[float]:
    """The same, or the cell's median alone where no repeat tells; empty: it has not even that."""
    estimate = cell.metrics.get(metric)
    return values_of(cell, metric) or ([estimate.value] if estimate else [])
