"""All telemetry of a request on one rank, the same on root and workers.

Compiled code writes to the tables that this owns; nothing of it is told before the request's end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dllama_engine.telemetry.events.ranks import LinkTimes, NicCount, PhaseSpans, TcpCount
from dllama_engine.telemetry.histograms import LinkHistograms
from dllama_engine.telemetry.kernel_counters import KernelCounters
from dllama_engine.telemetry.spans import Spans
from dllama_engine.wire.links import Links

if TYPE_CHECKING:
    from dllama_engine.telemetry.timeline import Timeline, TimelineKeeper

_now_ns = time.perf_counter_ns


class Observation:
    """A rank's spans, histograms, kernel counters and, for `--trace`, raw spans.

    Args:
        links: of the rank; they stay connected until all is told.
        count_work: tells compiled code where to sum up work; 0: nowhere.
        keep_work: tells it where to keep raw spans of work; 0: nowhere.
        spans: whether sums, histograms and counters are kept.
        raw: whether raw spans are.

    Attributes:
        begin_step: a step with so many logits begins; whether it goes on with the request of the
            step before.
        add: work of Python's on the step under way: its kind (`tables.spans`), begin and end in ns.
    """

    def __init__(
        self,
        links: Links,
        count_work: Callable[[int], None],
        keep_work: Callable[[int], None],
        *,
        spans: bool,
        raw: bool,
    ) -> None:
        n = links.world_size
        self._links, self._keep_work = links, keep_work
        self._spans = Spans(n, links.record_spans, count_work) if spans else None
        self._histograms = LinkHistograms(n) if spans else None
        self._kernel = KernelCounters(links) if spans else None
        self._raw = _timeline_keeper(n) if raw else None
        # Called between the passes of a request, where every call counts.
        self.begin_step: Callable[[int], bool] = (
            self._spans.begin_step if self._spans is not None else _goes_on_with_nothing
        )
        self.add: Callable[[int, int, int], None] = self._add_both
        if self._spans is None or self._raw is None:
            part = self._spans or self._raw
            self.add = part.add if part is not None else _ignore
        if self._histograms is not None:
            links.record_times(self._histograms.address)
        if self._raw is not None:
            links.record_exchanges(self._raw.exchanges_at)
            keep_work(self._raw.work_at)

    @property
    def counts_alone(self) -> bool:
        """Whether compiled code can go on with steps like the one under way, and count them."""
        return self._raw is None and (self._spans is None or self._spans.is_decoding)

    def add_steps(self, n: int) -> None:
        """It has gone on with so many."""
        if self._spans is not None:
            self._spans.add_steps(n)

    def end_step(self, start_ns: int, pos: int, n_tokens: int, n_logits: int) -> None:
        """It has ended."""
        if self._raw is not None:
            self._raw.add_step(start_ns, _now_ns(), pos, n_tokens, n_logits)

    def _add_both(self, kind: int, start_ns: int, end_ns: int) -> None:
        assert self._spans is not None
        assert self._raw is not None
        self._spans.add(kind, start_ns, end_ns)
        self._raw.add(kind, start_ns, end_ns)

    def count_receipt(self, peer: int, ns: int, moving_ns: int, *, waited: bool) -> None:
        """A frame that Python received in `ns`; `waited` if a user was not the reason."""
        if self._spans is not None:
            self._spans.add_receipt(peer, ns, moving_ns, waited=waited)

    def keep_receipt(
        self, op: str, peer: int, begun_ns: int, whole_ns: int, moving_ns: int, *, waited: bool
    ) -> None:
        """The same as a raw span, before any other exchange."""
        if self._raw is not None:
            begun_ns = begun_ns if waited else whole_ns - moving_ns
            number = self._links.last_received(peer)
            self._raw.add_receipt(op, peer, begun_ns, whole_ns, number, moving_ns)

    def forget(self) -> None:
        """What was seen so far is not of the request."""
        for part in (self._spans, self._histograms, self._raw):
            if part is not None:
                part.forget()
        if self._kernel is not None:
            self._kernel.restart()

    def end(self) -> None:
        """The request is over: what comes now is not of it."""
        self._keep_work(0)
        self._links.record_times(0)
        self._links.record_exchanges(0)

    def told_spans(self) -> tuple[PhaseSpans, ...]:
        """As the event stream has them."""
        return self._spans.told() if self._spans is not None else ()

    def told_times(self) -> tuple[LinkTimes, ...]:
        """As the event stream has them."""
        return self._histograms.told() if self._histograms is not None else ()

    def told_by_kernel(self) -> tuple[tuple[TcpCount, ...], tuple[NicCount, ...]]:
        """As the event stream has them."""
        return self._kernel.told() if self._kernel is not None else ((), ())

    @property
    def timeline(self) -> Timeline | None:
        """The raw spans, if they were kept."""
        return self._raw.kept() if self._raw is not None else None


def _timeline_keeper(world_size: int) -> TimelineKeeper:
    from dllama_engine.telemetry.timeline import TimelineKeeper  # few runs keep raw spans

    return TimelineKeeper(world_size)


def _goes_on_with_nothing(n_logits: int) -> bool:
    """Nothing is kept that a step could go on with."""
    return False


def _ignore(kind: int, start_ns: int, end_ns: int) -> None:
    """Nothing is kept."""
