"""Every metric: its name, unit, direction and definition."""

from __future__ import annotations

from typing import Literal

DEFINITIONS: dict[str, str] = {
    "ttft_s": "time to first token: request start (before tokenizing) to the first generated "
    "token in hand, s",
    "tpot_ms": "time per output token: (RCT - TTFT) / (output tokens - 1), the first token left "
    "out, ms",
    "itl_ms": "inter-token latency: every single gap between two consecutive tokens, ms",
    "rct_s": "request completion time: request start to the last token, s",
    "tokens_per_s": "output tokens / RCT, 1/s",
    "prefill_tokens_per_s": "prompt tokens evaluated / the engine's prefill time, 1/s",
    "decode_tokens_per_s": "output tokens / the engine's decode time, 1/s",
    "sync_share": "time in collectives / step time, on the root, over the decode steps",
    "bytes_per_token": "payload counted on the root's sockets in one decode step, sent and "
    "received, framing left out, B",
    "bandwidth_mbps": "bytes moved on the root's links / time the links were busy, Mbit/s",
    "root_peak_rss_bytes": "peak resident memory of the root process, B",
    "worker_peak_rss_bytes": "peak resident memory of the largest worker process, B",
    "load_s": "root start of loading to every rank holding its weights, s",
    "roofline_share": "share of the memory roofline: time to read once what a token must read, at "
    "the measured memory bandwidth of the slowest machine / TPOT",
}


# metric -> (unit, better); every key of CellRecord.metrics is one of these.
METRIC_NAMES: dict[str, tuple[str, Literal["lower", "higher", "exact"]]] = {
    "ttft_s": ("s", "lower"),
    "tpot_ms": ("ms", "lower"),
    "rct_s": ("s", "lower"),
    "tokens_per_s": ("1/s", "higher"),
    "prefill_tokens_per_s": ("1/s", "higher"),
    "decode_tokens_per_s": ("1/s", "higher"),
    "sync_share": ("-", "lower"),
    "bytes_per_token": ("B", "exact"),
    "bandwidth_mbps": ("Mbit/s", "higher"),
    "root_peak_rss_bytes": ("B", "lower"),
    "worker_peak_rss_bytes": ("B", "lower"),
    "load_s": ("s", "lower"),
    "roofline_share": ("-", "higher"),
}


# Metrics of the wire and of workers: a lone root has none, so limits pass it by.
CLUSTER_METRICS = frozenset(
    {"sync_share", "bytes_per_token", "bandwidth_mbps", "worker_peak_rss_bytes"}
)
