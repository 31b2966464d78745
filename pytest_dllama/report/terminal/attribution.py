"""Attribution in words for a terminal: which work on which rank a change comes from."""

from __future__ import annotations

from pytest_dllama.record.verdict import AttributedPart, Cause, MetricVerdict

NAMES = {
    "ttft_s": "TTFT",
    "tpot_ms": "TPOT",
    "steady_tpot_ms": "steady TPOT",
    "rct_s": "RCT",
}
LEAST_SHARE, MOST_PARTS = 0.10, 3  # of a change, that are worth a word
_MANY_TIMES = 10  # as slow: from here on it is told so, not in percent


def attributed(verdict: MetricVerdict) -> str | None:
    """Where a change sits, in a sentence; None where nothing is known of it."""
    found = verdict.attribution
    parts = found.parts if found else ()
    told = [part for part in parts if part.share >= LEAST_SHARE][:MOST_PARTS]
    if not told or verdict.change is None:
        return None
    name = NAMES.get(verdict.metric, verdict.metric)
    in_both = len({part.phase for part in told}) > 1  # the same work of the same rank, told twice
    sits = "; ".join(
        f"{part.share:.0%} of it is {_part(part)}{f', in {part.phase}' if in_both else ''}"
        for part in told
    )
    cause = found.cause if found else None
    # Of one kind of one rank's work the parts themselves say it.
    lead = f"{_cause(cause)}: " if cause and (cause.also or len(cause.ranks) > 1) else ""
    if found and found.metric != verdict.metric:
        lead = f"by the parts of {NAMES[found.metric]}: {lead}"
    return f"{verdict.change:+.1%} {name}: {lead}{sits}"


def changed_work(work: Cause, verdict: MetricVerdict) -> str:
    """Work that surely changed, and what that is of a metric that passed or is open."""
    name = NAMES.get(verdict.metric, verdict.metric)
    whole_ms = (verdict.base or 0) * (1e3 if verdict.metric.endswith("_s") else 1)
    share = f"about {work.effect_ms / whole_ms:+.1%} {name}" if whole_ms else name
    return f"{_cause(work)}, surely: {share}, which itself is {verdict.status}"


def _cause(cause: Cause) -> str:
    """Work that changed, in words.

    >>> slow = {"phase": "decode", "part": "qkv", "ranks": (1, 3), "change": 0.4, "effect_ms": 1}
    >>> _cause(Cause(**slow, is_everywhere=False))
    'qkv on ranks 1 and 3 became 40% slower'
    >>> _cause(Cause(**slow, is_everywhere=True))
    'qkv on every rank became 40% slower'
    >>> _cause(Cause(**(slow | {"ranks": (2,)}), is_everywhere=False))
    'qkv on rank 2 became 40% slower'
    >>> _cause(Cause(**slow, is_everywhere=True, also=("logits",)))
    'qkv on every rank became 40% slower, as did logits'
    """
    *first, last = map(str, cause.ranks)
    where = f"ranks {', '.join(first)} and {last}" if first else f"rank {last}"
    if first and cause.is_everywhere:
        where = "every rank"
    also = f", as did {', '.join(map(_what, cause.also))}" if cause.also else ""
    return f"{_what(cause.part)} on {where} became {_faster_or_slower(cause.change)}{also}"


def _part(part: AttributedPart) -> str:
    """A part in words.

    >>> qkv = AttributedPart(phase="decode", part="qkv", rank=0, effect_ms=1, share=1, change=0.3)
    >>> _part(qkv)
    'qkv on rank 0 (30% slower)'
    >>> cause = {"waited_for": 3, "because_part": "qkv", "because_change": 0.2}
    >>> _part(qkv.model_copy(update=cause))
    'waiting for rank 3, whose qkv became 20% slower'
    """
    if part.waited_for is not None:
        cause = _faster_or_slower(part.because_change)
        whose = f", whose {part.because_part} became {cause}" if cause else ""
        return f"waiting for rank {part.waited_for}{whose}"
    change = _faster_or_slower(part.change)
    return f"{_what(part.part)} on rank {part.rank}{f' ({change})' if change else ''}"


def _what(part: str) -> str:
    return "time that no span covers" if part == "other" else part


def _faster_or_slower(change: float | None) -> str:
    """A change of work, in words.

    >>> _faster_or_slower(0.31), _faster_or_slower(-0.2), _faster_or_slower(391.4)
    ('31% slower', '20% faster', '392 times as slow')
    >>> _faster_or_slower(-0.992)
    '125 times as fast'
    """
    if change is not None and change >= _MANY_TIMES - 1:
        return f"{1 + change:.0f} times as slow"
    if change is not None and -1 < change <= 1 / _MANY_TIMES - 1:
        return f"{1 / (1 + change):.0f} times as fast"
    return "" if change is None else f"{abs(change):.0%} {'slower' if change > 0 else 'faster'}"
