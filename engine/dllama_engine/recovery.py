"""Recovery from lost workers: a fresh session, in which all forward passes so far are run again.

Every forward pass is a function of what was run before it, so that the same passes in the same
order give the same logits: whoever generates tokens notices nothing but time. On fewer nodes the
bits are the same only where sums do not depend on the count of nodes (`SyncMode.INVARIANT`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dllama_engine.arrays import Floats
from dllama_engine.cluster.options import RootOptions
from dllama_engine.cluster.root import Root
from dllama_engine.errors import EngineError, HandshakeError, WireError, WorkerLost
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.telemetry.events.base import Event
from dllama_engine.telemetry.events.loading import ShareLoad
from dllama_engine.telemetry.events.ranks import Rank
from dllama_engine.telemetry.events.session import Lost, Recovered, Remedy
from dllama_engine.telemetry.observer import Observer
from dllama_engine.telemetry.plan import plan_event
from dllama_engine.telemetry.step_cost import GreedyToken, StepCost
from dllama_engine.wire.connecting.dialing import Address, format_address
from dllama_engine.wire.connecting.handshake import probe_worker
from dllama_engine.wire.trace import LinkCount, LinkTotals, LinkTrace

if TYPE_CHECKING:
    from dllama_engine.collectives.choice import Choice
    from dllama_engine.telemetry.timeline import RankTrace

_PROBE_S = 2.0  # for one worker to answer
_PAUSE_S = 0.1  # between two rounds of asking


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to do when a rank is lost; by default nothing."""

    retries: int = 0  # how often all workers are waited for
    shrinks: bool = False  # whether those that are left go on alone

    @property
    def is_on(self) -> bool:
        """Whether anything is done."""
        return self.retries > 0 or self.shrinks


class FaultTolerantRoot:
    """What `Root` does, over as many sessions as it takes.

    Args:
        model: the file.
        plan: of a number of nodes.
        options: of the first session; workers that do not return drop out of it.
        recovery: what to do when a rank is lost.
        observer: told of set-ups.
        tell: takes the events of losses.
    """

    def __init__(
        self,
        model: ModelFile,
        plan: Callable[[int], ShardPlan],
        options: RootOptions,
        recovery: Recovery,
        observer: Observer,
        tell: Callable[[Event], None],
    ) -> None:
        self.model, self.options, self.recovery = model, options, recovery
        self._plan, self._observer, self._tell = plan, observer, tell
        self._probed: ShardPlan | None = None  # of a lost session, where a probe decided
        self._root = self._new_root()
        self._retries_left = recovery.retries
        self._passes: list[tuple[tuple[int, ...], int, int]] = []  # arguments of each forward pass
        self._n_forgotten = 0  # passes whose costs are nobody's
        self._trace: LinkTrace | None = None  # of this session, once one was lost

    def _new_root(self) -> Root:
        """A root of the workers that are left; as many exchange as they did before."""
        plan = self._plan(1 + len(self.options.workers))
        if self._probed is not None and self._probed.world_size == plan.world_size:
            plan = plan.settled(self._probed.picks)
        return Root(self.model, plan, self.options, self._observer)

    # -- what there is to know ----------------------------------------------------------------

    @property
    def plan(self) -> ShardPlan:
        """The split of the present session."""
        return self._root.plan

    @property
    def choice(self) -> Choice | None:
        """Of the collective, where it is left to the root."""
        return self._root.choice

    @property
    def max_seq_len(self) -> int:
        """Positions of the context."""
        return self._root.max_seq_len

    @property
    def load_links(self) -> tuple[LinkCount, ...]:
        """What loading moved over the root's links."""
        return self._root.load_links

    @property
    def shares(self) -> tuple[ShareLoad, ...]:
        """How each worker came to its weights."""
        return self._root.shares

    @property
    def load_s(self) -> float:
        """From connecting to ready."""
        return self._root.load_s

    @property
    def own_trace(self) -> LinkTrace | None:
        """Operations of the present session if others were lost before it, whose links are gone."""
        return self._trace

    @property
    def traces(self) -> list[RankTrace]:
        """Raw spans of the present session's ranks, once they said goodbye."""
        return self._root.traces

    def memory_needed(self, rank: int) -> RankMemory:
        """What a rank must hold, by the plan."""
        return self._root.memory_needed(rank)

    def request_links(self) -> LinkTotals:
        """What crossed this session's links since its costs were forgotten, or the model loaded."""
        return self._root.request_links()

    # -- service ------------------------------------------------------------------------------

    def connect(self) -> None:
        """As `Root.connect`; only a worker that was met and is lost is worth another try."""
        try:
            self._root.connect()
        except WorkerLost as error:
            self._recover(error)

    def load(self) -> None:
        """As `Root.load`."""
        if self._root.load_s:  # a worker was lost before
            return
        try:
            self._root.load()
        except WireError as error:
            self._recover(error)

    def forward(self, token_ids: Sequence[int], pos: int, n_logits: int) -> tuple[Floats, StepCost]:
        """As `Root.forward`; what it cost is told of the session in which it came to its end."""
        while True:
            try:
                logits, cost = self._root.forward(token_ids, pos, n_logits)
                break
            except WireError as error:
                self._recover(error)
        if self.recovery.is_on:
            self._passes.append((tuple(token_ids), pos, n_logits))
        if self._trace is not None:
            self._trace.extend(cost.trace)
        return logits, cost

    def decode_greedily(self, token_id: int, pos: int, n_steps: int) -> Iterator[GreedyToken]:
        """As `Root.decode_greedily`; nothing where a lost step may have to be run again."""
        if not self.recovery.is_on:
            yield from self._root.decode_greedily(token_id, pos, n_steps)

    def explain(self, error: EngineError) -> EngineError:
        """As `Root.explain`."""
        return self._root.explain(error)

    def count(self, kind: int, start_ns: int, end_ns: int) -> None:
        """As `Root.count`."""
        self._root.count(kind, start_ns, end_ns)

    def forget_costs(self) -> None:
        """As `Root.forget_costs`."""
        self._n_forgotten = len(self._passes)
        self._forget()

    def idle_until(self, readable: int) -> None:
        """As `Root.idle_until`."""
        while True:
            try:
                return self._root.idle_until(readable)
            except WireError as error:
                self._recover(error)

    def finish(self) -> list[Rank]:
        """As `Root.finish`."""
        while True:
            try:
                return self._root.finish()
            except WireError as error:
                self._recover(error)

    def abandon(self, error: BaseException) -> None:
        """As `Root.abandon`."""
        self._root.abandon(error)

    def close(self) -> None:
        """As `Root.close`."""
        self._root.close()

    # -- after a loss -------------------------------------------------------------------------

    def _recover(self, error: WireError) -> None:
        """Have a session again that stands where the lost one stood.

        Raises:
            WireError: the loss itself, where nothing is to be done or nothing helped.
        """
        start_s = time.monotonic()
        while True:
            if not self.recovery.is_on:
                raise error
            self._root.abandon(error)
            self._root.close()
            gc.collect()  # operations refer back to their transformer, and so to its weights
            self._settle_workers(error)
            if self._root.choice is not None:
                self._probed = self._root.plan
            self._root = self._new_root()
            try:
                self._root.connect()
                self._root.load()
                self._replay()
            except WireError as again:
                error = again
                continue
            break
        took_s, n_nodes = time.monotonic() - start_s, self.plan.world_size
        self._observer.say(
            f"🔁 Going on after {took_s:.1f} s on {n_nodes} nodes: {len(self._passes)} steps were "
            "replayed, the tokens are those of a run without the loss"
        )
        self._tell(Recovered(n_nodes, len(self._passes), took_s))
        self._tell(plan_event(self.plan, [self.memory_needed(rank) for rank in range(n_nodes)]))

    def _replay(self) -> None:
        self._trace = LinkTrace(range(1, self.plan.world_size))
        for number, arguments in enumerate(self._passes, start=1):
            _, cost = self._root.forward(*arguments)
            self._trace.extend(cost.trace)
            if number == self._n_forgotten:
                self._forget()

    def _forget(self) -> None:
        self._root.forget_costs()
        if self._trace is not None:
            self._trace = LinkTrace(range(1, self.plan.world_size))

    def _settle_workers(self, error: WireError) -> None:
        """Wait for those that may return, and settle with whom to go on.

        Raises:
            WireError: nobody returned in time, and nobody may go on alone.
        """
        timeout_s, workers = self.options.timeout_s, self.options.workers
        is_retry = self._retries_left > 0
        if not is_retry and not (self.recovery.shrinks and error.rank):  # nobody could be left out
            raise error
        self._tell_loss(error, "replay" if is_retry else "shrink")
        if is_retry:
            self._retries_left -= 1
            wanted = workers
        else:
            wanted = tuple(w for rank, w in enumerate(workers, start=1) if rank != error.rank)
        ready = self._await_ready(wanted, timeout_s)
        left = tuple(address for address in workers if address in ready)
        if left == workers:
            return
        gone = ", ".join(format_address(address) for address in workers if address not in ready)
        if not self.recovery.shrinks:
            raise type(error)(
                f"{error} It was waited for: {gone} did not serve again within {timeout_s:g} s; "
                "start it there, or let the others go on alone with --shrink.",
                error.rank,
            ) from error
        self._observer.say(f"🔁 Going on without {gone}: the model is split anew")
        self.options = replace(self.options, workers=left)

    def _tell_loss(self, error: WireError, remedy: Remedy) -> None:
        address = format_address(self.options.workers[error.rank - 1]) if error.rank else None
        self._observer.say(f"🔁 Lost: {error}")
        self._tell(Lost(error.rank, address, type(error).__name__, str(error), remedy))

    def _await_ready(self, wanted: Sequence[Address], timeout_s: float) -> set[Address]:
        """Those of the workers that are free before the timeout."""
        self._observer.say(
            f"🔁 Waiting up to {timeout_s:g} s for {', '.join(map(format_address, wanted))}"
        )
        until_s = time.monotonic() + timeout_s
        ready: set[Address] = set()
        while True:
            for address in wanted:
                if address not in ready and _is_free(address, self.options.token, timeout_s):
                    ready.add(address)
            if len(ready) == len(wanted) or time.monotonic() >= until_s:
                return ready
            time.sleep(_PAUSE_S)


def _is_free(address: Address, token: bytes, timeout_s: float) -> bool:
    try:
        return probe_worker(*address, token, min(_PROBE_S, timeout_s)).busy is None
    except (HandshakeError, OSError):
        return False
