"""Traces of one cell to its samples and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pytest_dllama.events.request import Step
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.metrics import definitions
from pytest_dllama.metrics.parts import parts_of
from pytest_dllama.record.cell import PartTime, RankRecord, Sample


def sample_of(trace: RequestTrace) -> Sample:
    """The figures of one request."""
    times_ns = [step.end_ns for step in trace.decode_steps if step.gave_token]
    ttft_s = definitions.ttft_s(trace.request.t_ns, times_ns[0])
    rct_s = definitions.rct_s(trace.request.t_ns, times_ns[-1])
    sample = Sample(
        n_input_tokens=trace.request.n_input_tokens,
        n_output_tokens=len(times_ns),
        ttft_s=ttft_s,
        tpot_ms=definitions.tpot_ms(rct_s, ttft_s, len(times_ns)),
        rct_s=rct_s,
        tokens_per_s=len(times_ns) / rct_s,
        prefill_tokens=sum(step.n_tokens for step in trace.prefill_steps),
        prefill_s=_phase_s(trace.done.prefill_s, trace.prefill_steps),
        decode_tokens=len(times_ns),
        decode_s=_phase_s(trace.done.decode_s, trace.decode_steps),
        itl_ms=definitions.itl_ms(times_ns),
        load_s=trace.ready.load_s if trace.ready else None,
    )
    unknown: dict[str, object] = dict.fromkeys(Sample.model_fields.keys() & set(trace.done.unknown))
    if "itl_ms" in unknown:
        unknown["itl_ms"] = ()
    known = sample.model_copy(update=unknown)
    return known.model_copy(update={"parts": parts_of(trace, known.ttft_s, known.tpot_ms)})


def session_sample(traces: Sequence[RequestTrace]) -> Sample:
    """The figures of one session, which ran its request several times: the median of each.

    Gaps between tokens are those of the request with the median RCT. Parts are medians too, so
    that they add up to TTFT and TPOT nearly.
    """
    samples = [sample_of(trace) for trace in traces]
    if len(samples) == 1:
        return samples[0]
    typical = sorted(samples, key=lambda sample: sample.rct_s or 0.0)[len(samples) // 2]
    changes: dict[str, object] = {}
    for name in _TIMES:
        known = [value for sample in samples if (value := getattr(sample, name)) is not None]
        changes[name] = median(known) if known else None
    return typical.model_copy(update=changes | {"parts": median_parts(samples)})


_TIMES = ("ttft_s", "tpot_ms", "rct_s", "tokens_per_s", "prefill_s", "decode_s", "load_s")


def median_parts(samples: Sequence[Sample]) -> tuple[PartTime, ...]:
    """Of each part over all samples; one that a sample lacks took no time there."""
    found: dict[PartTime, list[float]] = {}
    for sample in samples:
        for part in sample.parts:
            found.setdefault(part.model_copy(update={"ms": 0.0}), []).append(part.ms)
    missing = {part: [0.0] * (len(samples) - len(ms)) for part, ms in found.items()}
    return tuple(
        part.model_copy(update={"ms": median([*ms, *missing[part]])}) for part, ms in found.items()
    )


def cannot_be(samples: Sequence[Sample]) -> dict[str, str]:
    """Metrics that no request of this work can have, with the reason.

    >>> one = Sample(n_input_tokens=4, n_output_tokens=1, ttft_s=1.0, tpot_ms=None, rct_s=1.0,
    ...     tokens_per_s=1.0, prefill_tokens=3, prefill_s=1.0, decode_tokens=1, decode_s=0.1)
    >>> sorted(cannot_be([one]))
    ['roofline_share', 'steady_tpot_ms', 'tpot_ms']
    """
    reasons: dict[str, str] = {}
    if samples and all(sample.n_output_tokens < 2 for sample in samples):
        why = "a request of one output token has no time per further token"
        reasons |= {"tpot_ms": why, "steady_tpot_ms": why, "roofline_share": why}
    if samples and all(sample.n_input_tokens == 1 for sample in samples):
        reasons["prefill_tokens_per_s"] = "a prompt of one token has no prefill"
    return reasons


def _phase_s(engine_s: float | None, steps: Sequence[Step]) -> float | None:
    """The engine's own phase time, else the sum of its steps; None when there was no phase."""
    if not steps:
        return None
    return engine_s if engine_s else sum(step.end_ns - step.start_ns for step in steps) / 1e9


def peak_rss_bytes(trace: RequestTrace, role: str) -> int | None:
    """The largest peak RSS among the ranks of a role."""
    peaks = [r.peak_rss_bytes for r in trace.ranks if r.role == role and r.peak_rss_bytes]
    return max(peaks, default=None)


def rank_records(trace: RequestTrace) -> tuple[RankRecord, ...]:
    """One record a process, from the trace of the median repeat."""
    return tuple(
        RankRecord(
            rank=r.rank,
            role=r.role,
            address=r.address,
            hostname=r.hostname,
            peak_rss_bytes=r.peak_rss_bytes,
            peak_pss_bytes=r.peak_pss_bytes,
            weight_bytes=r.weight_bytes,
            kv_cache_bytes=r.kv_cache_bytes,
            compute_s=None if r.compute_us is None else r.compute_us / 1e6,
            sync_s=None if r.sync_us is None else r.sync_us / 1e6,
        )
        for r in trace.ranks
    )
