"""What a request's time is divided into: the kinds of spans that engines tell, by id.

`prefill` is all work up to the first token, the step that gives it included, so that its parts add
up to TTFT; `decode` is what follows, and its parts add up to TPOT. That holds for rank 0: another
rank's parts are the same step as that rank lived it.
"""

from __future__ import annotations

from pytest_dllama.events.base import Phase
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.record.cell import PartTime

TOKENIZING = "tokenizing"  # the prompt, on the root
EMBEDDING = "embedding"  # looking up the tokens' rows, on the root
QKV = "qkv"  # the norm before it included
ATTENTION = "attention"  # rotation and the cache included
OUTPUT_PROJECTION = "output-projection"
FEED_FORWARD = "feed-forward"  # norm, router and experts included
EXCHANGE_COPY = "exchange-copy"  # casting into the own message, adding up what came
EXCHANGE_WIRE = "exchange-wire"  # sending, and receiving what is there
EXCHANGE_WAIT = "exchange-wait"  # nothing to do until the last peer's message begins to come
LOGITS = "logits"
SAMPLING = "sampling"
DETOKENIZING = "detokenizing"
EVAL = "eval"  # of the real dllama: all computing
SYNC = "sync"  # of the real dllama: all exchanging
OTHER = "other"  # what no span covers

# In the order of a step; those of the real dllama before the rest.
PARTS = (
    *(TOKENIZING, EMBEDDING, QKV, ATTENTION, OUTPUT_PROJECTION, FEED_FORWARD),
    *(EXCHANGE_COPY, EXCHANGE_WIRE, EXCHANGE_WAIT, LOGITS, SAMPLING, DETOKENIZING),
    *(EVAL, SYNC, OTHER),
)

_DIGITS = 6  # of milliseconds: nanoseconds


def parts_of(
    trace: RequestTrace, ttft_s: float | None, tpot_ms: float | None
) -> tuple[PartTime, ...]:
    """Where the request's time went; without a phase's total, nothing of that phase.

    An engine that tells no spans (an older one, the real dllama) has at least computing and
    exchanging of the root's steps.
    """
    found: list[PartTime] = []
    totals: tuple[tuple[Phase, float | None], ...] = (
        ("prefill", None if ttft_s is None else 1e3 * ttft_s),
        ("decode", tpot_ms),
    )
    for phase, total_ms in totals:
        if total_ms is None:
            continue
        parts = _spans(trace, phase) or _eval_and_sync(trace, phase)
        if parts:
            covered_ms = sum(part.ms for part in parts if part.rank == 0)
            rest_ms = round(total_ms - covered_ms, _DIGITS)
            found += [*parts, PartTime(phase=phase, part=OTHER, rank=0, ms=rest_ms)]
    return tuple(found)


def _spans(trace: RequestTrace, phase: Phase) -> list[PartTime]:
    """What each rank counted, of the whole of prefill or of a decoded token."""
    times: dict[tuple[str, int, int | None], float] = {}  # (part, rank, waited for) -> us
    for rank in trace.ranks:
        for spans in (spans for spans in rank.spans if spans.phase == phase):
            times.update({(part, rank.rank, None): us for part, us in spans.us.items()})
            times.update({(EXCHANGE_WAIT, rank.rank, peer): us for peer, us in spans.waited_us})
    if times and phase == "prefill":
        times[TOKENIZING, 0, None] = (trace.steps[0].start_ns - trace.request.t_ns) / 1e3
    n = _steps(phase, trace)
    return [
        PartTime(
            phase=phase, part=part, rank=rank, waited_for=peer, ms=round(us / 1e3 / n, _DIGITS)
        )
        for (part, rank, peer), us in sorted(times.items(), key=_place)
    ]


def _place(item: tuple[tuple[str, int, int | None], float]) -> tuple[int, int, int]:
    """Ranks in order, work in a step's order; an unknown kind, of a later engine, last."""
    (part, rank, peer), _ = item
    place = PARTS.index(part) if part in PARTS else len(PARTS)
    return rank, place, -1 if peer is None else peer


def _eval_and_sync(trace: RequestTrace, phase: Phase) -> list[PartTime]:
    """Of the root's steps; nothing where one of them does not tell."""
    steps = (*trace.prefill_steps, *trace.decode_steps[:1])
    steps = trace.decode_steps[1:] if phase == "decode" else steps
    found = []
    for part, times in (
        (EVAL, [step.compute_us for step in steps]),
        (SYNC, [step.sync_us for step in steps]),
    ):
        known = [us for us in times if us is not None]
        if known and len(known) == len(times):
            ms = round(sum(known) / 1e3 / _steps(phase, trace), _DIGITS)
            found.append(PartTime(phase=phase, part=part, rank=0, ms=ms))
    return found


def _steps(phase: Phase, trace: RequestTrace) -> int:
    """By how much a phase's sums are divided: decode's figures are of a token."""
    return max(1, len(trace.decode_steps) - 1) if phase == "decode" else 1
