"""Every metric: its name, unit, direction, definition, and how one repeat gives it.

A new metric is one more entry of METRICS: limits, run files, reports and skips of tests follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.metrics import network
from pytest_dllama.metrics.definitions import estimate, rate_per_s
from pytest_dllama.metrics.energy import per_token_j, tokens_per_joule
from pytest_dllama.metrics.samples import peak_rss_bytes
from pytest_dllama.record.cell import Estimate, Sample

OfRepeat = Callable[[RequestTrace, Sample], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a cell; every key of CellRecord.metrics is the name of one."""

    name: str
    unit: str  # "s", "ms", "1/s", "B", "Mbit/s", "J", "1/J"; "-" for a share of 1
    better: Literal["lower", "higher", "exact"]
    definition: str
    needs_peers: bool = False  # of the wire or of workers: a lone root has none
    of_repeat: OfRepeat | None = None  # None: not of single repeats, added when the cell is judged

    @property
    def is_share(self) -> bool:
        """Whether it is a part of a whole, shown in percent."""
        return self.unit == "-"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ttft_s",
            "s",
            "lower",
            "time to first token: request start (before tokenizing) to the first generated "
            "token in hand, s",
            of_repeat=lambda trace, sample: sample.ttft_s,
        ),
        Metric(
            "tpot_ms",
            "ms",
            "lower",
            "time per output token: (RCT - TTFT) / (output tokens - 1), the first token left "
            "out, ms",
            of_repeat=lambda trace, sample: sample.tpot_ms,
        ),
        Metric(
            "steady_tpot_ms",
            "ms",
            "lower",
            "mean of the faster half of the gaps between tokens, for comparisons: what disturbs "
            "fewer than half of the tokens does not move it; lower than TPOT, ms",
            of_repeat=lambda trace, sample: sample.steady_tpot_ms,
        ),
        Metric(
            "rct_s",
            "s",
            "lower",
            "request completion time: request start to the last token, s",
            of_repeat=lambda trace, sample: sample.rct_s,
        ),
        Metric(
            "tokens_per_s",
            "1/s",
            "higher",
            "output tokens / RCT, 1/s",
            of_repeat=lambda trace, sample: sample.tokens_per_s,
        ),
        Metric(
            "prefill_tokens_per_s",
            "1/s",
            "higher",
            "prompt tokens evaluated / the engine's prefill time, 1/s",
            of_repeat=lambda trace, sample: rate_per_s(sample.prefill_tokens, sample.prefill_s),
        ),
        Metric(
            "decode_tokens_per_s",
            "1/s",
            "higher",
            "output tokens / the engine's decode time, 1/s",
            of_repeat=lambda trace, sample: rate_per_s(sample.decode_tokens, sample.decode_s),
        ),
        Metric(
            "sync_share",
            "-",
            "lower",
            "time in collectives / step time, on the root, over the decode steps",
            needs_peers=True,
            of_repeat=lambda trace, sample: network.sync_share(trace),
        ),
        Metric(
            "bytes_per_token",
            "B",
            "exact",
            "payload counted on the root's sockets in one decode step, sent and received, "
            "framing left out, B",
            needs_peers=True,
            of_repeat=lambda trace, sample: network.bytes_per_token(trace),
        ),
        Metric(
            "bandwidth_mbps",
            "Mbit/s",
            "higher",
            "bytes moved on the root's links / time the links were busy, Mbit/s",
            needs_peers=True,
            of_repeat=lambda trace, sample: network.root_bandwidth_mbps(trace),
        ),
        Metric(
            "root_peak_rss_bytes",
            "B",
            "lower",
            "peak resident memory of the root process, B",
            of_repeat=lambda trace, sample: peak_rss_bytes(trace, "root"),
        ),
        Metric(
            "worker_peak_rss_bytes",
            "B",
            "lower",
            "peak resident memory of the largest worker process, B",
            needs_peers=True,
            of_repeat=lambda trace, sample: peak_rss_bytes(trace, "worker"),
        ),
        Metric(
            "load_s",
            "s",
            "lower",
            "root start of loading to every rank holding its weights, s",
            of_repeat=lambda trace, sample: sample.load_s,
        ),
        Metric(
            "roofline_share",
            "-",
            "higher",
            "share of the memory roofline: time to read once what a token must read, at the "
            "measured memory bandwidth of the slowest machine / TPOT",
        ),
        Metric(
            "j_per_token",
            "J",
            "lower",
            "energy of all machines of the cell from the first token to the last / (output "
            "tokens - 1), J",
            of_repeat=lambda trace, sample: per_token_j(sample.decode_j, sample.n_output_tokens),
        ),
        Metric(
            "request_j",
            "J",
            "lower",
            "energy of all machines of the cell from the request's start to the last token, J",
            of_repeat=lambda trace, sample: sample.request_j,
        ),
        Metric(
            "tokens_per_s_per_w",
            "1/J",
            "higher",
            "tokens/s for each W of the request's mean power, which is output tokens / energy of "
            "the request, 1/J",
            of_repeat=lambda trace, sample: tokens_per_joule(
                sample.n_output_tokens, sample.request_j
            ),
        ),
    )
}

ENERGY = ("j_per_token", "request_j", "tokens_per_s_per_w")  # only where somebody asks

# Of single gaps: many figures a repeat, shown as percentiles, without a limit of their own.
DISTRIBUTIONS: dict[str, str] = {
    "itl_ms": "inter-token latency: every single gap between two consecutive tokens, ms"
}


def all_definitions() -> dict[str, str]:
    """Name -> definition, as a run file carries them."""
    return {name: metric.definition for name, metric in METRICS.items()} | DISTRIBUTIONS


def cell_metrics(traces: Sequence[RequestTrace], samples: Sequence[Sample]) -> dict[str, Estimate]:
    """Every metric that these repeats can give, as the median over them."""
    repeats = list(zip(traces, samples, strict=True))
    estimates = {
        name: estimate([of_repeat(trace, sample) for trace, sample in repeats])
        for name, metric in METRICS.items()
        if (of_repeat := metric.of_repeat) is not None
    }
    return {name: value for name, value in estimates.items() if value is not None}


def energy_metrics(samples: Sequence[Sample]) -> dict[str, Estimate]:
    """What is made of the energy of requests alone, as medians over them."""
    figures = {
        "j_per_token": [per_token_j(s.decode_j, s.n_output_tokens) for s in samples],
        "request_j": [s.request_j for s in samples],
        "tokens_per_s_per_w": [tokens_per_joule(s.n_output_tokens, s.request_j) for s in samples],
    }
    found = {name: estimate(values) for name, values in figures.items()}
    return {name: value for name, value in found.items() if value is not None}


def sample_metrics(samples: Sequence[Sample]) -> dict[str, Estimate]:
    """The metrics of requests of which nothing but their samples is known, as medians over them."""
    figures = {
        "ttft_s": [sample.ttft_s for sample in samples],
        "tpot_ms": [sample.tpot_ms for sample in samples],
        "steady_tpot_ms": [sample.steady_tpot_ms for sample in samples],
        "rct_s": [sample.rct_s for sample in samples],
        "tokens_per_s": [sample.tokens_per_s for sample in samples],
        "prefill_tokens_per_s": [rate_per_s(s.prefill_tokens, s.prefill_s) for s in samples],
        "decode_tokens_per_s": [rate_per_s(s.decode_tokens, s.decode_s) for s in samples],
    }
    found = {name: estimate(values) for name, values in figures.items()}
    return {name: value for name, value in found.items() if value is not None}
