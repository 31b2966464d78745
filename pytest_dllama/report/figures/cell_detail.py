"""One cell in detail: dllama's own blocks, its metric names, and percentiles with their samples."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.metrics.definitions import PERCENTILE_MIN_SAMPLES, median_index, percentile
from pytest_dllama.record.cell import CellRecord, Estimate, Sample
from pytest_dllama.record.network import NetworkRecord
from pytest_dllama.report.text.numbers import decimals_for, plain


def median_sample(cell: CellRecord) -> Sample | None:
    """The repeat whose RCT is the median (the lower one of two): the one network and text show.

    Where no log tells it they are in no order, and any will do.
    """
    if not cell.samples:
        return None
    return cell.samples[median_index([sample.rct_s or 0.0 for sample in cell.samples])]


def phase_blocks(sample: Sample, n_batches: int | None) -> str:
    """The Evaluation and Prediction blocks in dllama's own format."""
    evaluation = ["Evaluation"]
    if n_batches is not None:
        evaluation.append(f"   nBatches: {n_batches}")
    evaluation += _phase(sample.prefill_tokens, sample.prefill_s)
    prediction = ["Prediction", *_phase(sample.decode_tokens, sample.decode_s)]
    return "\n".join([*evaluation, "", *prediction])


def _phase(n_tokens: int, seconds: float | None) -> list[str]:
    return [f"    nTokens: {n_tokens}", f"   tokens/s: {phase_rate(n_tokens, seconds)}"]


def phase_rate(n_tokens: int, seconds: float | None) -> str:
    """Tokens per second and milliseconds per token; "-" for a phase that had none.

    >>> phase_rate(6, 6 * 1.07992), phase_rate(0, None)
    ('0.93 (1079.92 ms/tok)', '-')
    """
    if seconds is None or n_tokens <= 0 or seconds <= 0:
        return "-"
    return f"{plain(n_tokens / seconds, 2)} ({plain(seconds * 1e3 / n_tokens, 2)} ms/tok)"


@dataclass(frozen=True, slots=True)
class MetricLine:
    """A line of the metrics list, in the names of dllama's logs."""

    name: str
    text: str
    spread: Estimate | None = None  # of more than one repeat
    decimals: int = 0


def metric_lines(cell: CellRecord) -> list[MetricLine]:
    """InputTokens ... RCT_S, with the range where there were repeats."""
    sample = median_sample(cell)
    lines = []
    if sample is not None:
        lines = [
            MetricLine(
                "InputTokens",
                "-" if sample.n_input_tokens is None else str(sample.n_input_tokens),
            ),
            MetricLine("OutputTokens", str(sample.n_output_tokens)),
        ]
    names = (
        ("TokensPerSecond", "tokens_per_s", 2),
        ("TPOT_MS", "tpot_ms", 2),
        ("TTFT_S", "ttft_s", 3),
        ("RCT_S", "rct_s", 3),
        ("PrefillTokensPerSecond", "prefill_tokens_per_s", 2),
        ("DecodeTokensPerSecond", "decode_tokens_per_s", 2),
        ("Load_S", "load_s", 3),
        ("RooflineShare", "roofline_share", 3),
    )
    for name, key, least in names:
        value = cell.metrics.get(key)
        decimals = decimals_for(value.value, least) if value is not None else least
        text = plain(value.value if value else None, decimals)
        spread = value if value is not None and value.n > 1 else None
        if value is not None or key in ("tokens_per_s", "tpot_ms", "ttft_s", "rct_s"):
            lines.append(MetricLine(name, text, spread, decimals))
    return lines


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile of n durations; `value_ms` is None where n is too small for it."""

    percent: int
    value_ms: float | None
    n: int
    needed: int

    @property
    def too_few(self) -> bool:
        """Whether the missing value is for want of samples."""
        return self.value_ms is None and self.n < self.needed


def percentiles(network: NetworkRecord) -> list[Percentile]:
    """P50, P95 and P99 over all of the root's operations."""
    values = ((50, network.p50_ms), (95, network.p95_ms), (99, network.p99_ms))
    return [
        Percentile(percent, value, network.operations, PERCENTILE_MIN_SAMPLES[percent])
        for percent, value in values
    ]


def itl_percentiles(cell: CellRecord) -> list[Percentile]:
    """P50, P95 and P99 of the gaps between tokens, over all repeats; [] without any gap."""
    gaps = [gap for sample in cell.samples for gap in sample.itl_ms]
    if not gaps:
        return []
    return [
        Percentile(percent, percentile(gaps, percent), len(gaps), PERCENTILE_MIN_SAMPLES[percent])
        for percent in (50, 95, 99)
    ]
