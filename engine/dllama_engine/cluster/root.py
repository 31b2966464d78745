"""The root of a session: dials the workers, streams the weights, and runs forward passes.

Knows nothing of text or requests: token ids in, logits out, with what each step cost.
"""

from __future__ import annotations

import math
import secrets
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dllama_engine.arrays import Floats
from dllama_engine.cluster.accounts import StepAccounts
from dllama_engine.cluster.farewell import dismiss
from dllama_engine.cluster.greedy import LONGEST_NS, MOST_STEPS, GreedySteps
from dllama_engine.cluster.options import RootOptions
from dllama_engine.cluster.packet import StepPacket
from dllama_engine.cluster.placement import (
    CoreSlots,
    available_cores,
    pinned,
    ranks_apart,
    slots_by_rank,
)
from dllama_engine.cluster.session import SessionConfig
from dllama_engine.cluster.setup.admission import check_memory
from dllama_engine.cluster.setup.choosing import choose_as_root
from dllama_engine.cluster.setup.handing_out import hand_out
from dllama_engine.cluster.setup.rendezvous import Rendezvous
from dllama_engine.cluster.setup.warmup import warm_up
from dllama_engine.cluster.summary import RankSummary
from dllama_engine.collectives.logits import LogitsGather
from dllama_engine.errors import EngineError, InsufficientMemoryError, ModelFileError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.system.process import LONGEST_WAIT_S
from dllama_engine.system.process_memory import PeakMemory
from dllama_engine.tables.spans import EMBEDDING
from dllama_engine.telemetry.events.loading import ShareLoad
from dllama_engine.telemetry.events.ranks import Rank
from dllama_engine.telemetry.observation import Observation
from dllama_engine.telemetry.observer import Observer
from dllama_engine.telemetry.step_cost import GreedyToken, StepCost
from dllama_engine.transformer.decode import DecodeEnds
from dllama_engine.transformer.embedding import EmbeddingTable
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.connecting.handshake import (
    WorkerInfo,
    own_info,
)
from dllama_engine.wire.frames import SESSION
from dllama_engine.wire.links import Links
from dllama_engine.wire.trace import LinkCount, LinkTotals

if TYPE_CHECKING:
    from dllama_engine.collectives.choice import Choice
    from dllama_engine.telemetry.timeline import RankTrace
    from dllama_engine.wire.clock import Reading


class Root:
    """Rank 0 and, through its links, the whole cluster."""

    def __init__(
        self, model: ModelFile, plan: ShardPlan, options: RootOptions, observer: Observer
    ) -> None:
        self.model, self.plan, self.options = model, plan, options
        config = model.config
        self.max_seq_len = min(options.max_seq_len or config.seq_len, config.seq_len)
        self.load_links: tuple[LinkCount, ...] = ()
        self.load_s = 0.0  # from connecting to ready
        self.shares: tuple[ShareLoad, ...] = ()  # how each worker came to its weights
        self.choice: Choice | None = None  # of the collective, where it is left to the root
        self._start_s = 0.0
        self._observer = observer
        self._links: Links | None = None
        self._transformer: Transformer | None = None
        self._session_id = secrets.token_hex(8)
        self._met: Rendezvous | None = None
        self._slots: dict[int, CoreSlots] = {}  # by rank, once all are connected
        self._beside: frozenset[int] = frozenset()  # ranks of this machine
        self._pinned = ExitStack()
        self._weight_bytes = 0
        self._memory = PeakMemory()
        self._packet = StepPacket(options.batch_size, config.dim)
        self._embedding = EmbeddingTable(model)
        self._greedy = GreedySteps(plan.world_size)
        self._accounts = StepAccounts()
        self.traces: list[RankTrace] = []  # raw spans of all ranks, once they said goodbye
        self._seen: Observation | None = None  # once it is loaded
        # (tokens, logits) of passes before any request: a batch of a prompt, a generated token.
        batch = min(2, options.batch_size, self.max_seq_len)
        self._rehearsal = ((batch, 0), (1, 1))
        self._clocks: dict[int, Reading] = {}  # of each worker, when it was loaded

    def session(self, rank: int) -> SessionConfig:
        """What that rank must know; before `connect`, its cores count as its own."""
        options = self.options
        maps = options.maps_local_weights and rank in self._beside
        return SessionConfig(
            session_id=self._session_id,
            rank=rank,
            plan=self.plan,
            batch_size=options.batch_size,
            max_seq_len=self.max_seq_len,
            kv_type=options.kv_type,
            context_depth=options.context_depth,
            rehearsals=len(self._rehearsal),
            timeout_s=options.timeout_s,
            workers=options.workers,
            slots=self._slots.get(rank, CoreSlots(0, options.n_threads, options.n_threads)),
            spans=options.spans,
            trace=options.trace,
            model_file=self.model.identity if maps else None,
        )

    def memory_needed(self, rank: int) -> RankMemory:
        """What a rank must hold, by the plan."""
        return self.session(rank).memory_needed

    # -- set-up -------------------------------------------------------------------------------

    def connect(self) -> None:
        """Dial all workers, refuse what does not fit, and let them dial each other."""
        self._start_s = time.perf_counter()
        self._memory.start()
        options = self.options
        met = self._met = Rendezvous(
            self.plan.world_size,
            options.token,
            self._observer,
            timeout_s=options.timeout_s,
            connect_timeout_s=options.connect_timeout_s,
        )
        links = self._links = met.links
        infos: dict[int, WorkerInfo] = {0: own_info(options.n_threads)}
        try:
            for rank, address in enumerate(options.workers, start=1):
                infos[rank] = met.reach(rank, address)
            check_memory({rank: self.memory_needed(rank) for rank in infos}, infos)
            here = infos[0].boot_id
            self._beside = frozenset(r for r in links.peers if infos[r].boot_id == here)
            self._configure(met, slots_by_rank(infos, keeps=options.keeps_cores))
        except BaseException as error:
            self.abandon(error)
            links.close()
            raise
        if options.workers:
            self._observer.say("⭕ Network is initialized")

    def _configure(self, met: Rendezvous, slots: dict[int, CoreSlots]) -> None:
        self._slots = slots
        links = met.links
        links.share_cores(ranks_apart(slots[0], available_cores()))
        for rank in links.peers:
            links.send_json(SESSION, rank, self.session(rank).to_json())
        # While the workers connect and do the same.
        warm_up(self.plan, self.options.kv_type, self._observer.say, met.attend)
        met.await_all("connected")
        options = self.options
        found = choose_as_root(self.plan, links, slots[0], options.batch_size, options.memory_rate)
        self.plan, self.choice = found

    def load(self) -> None:
        """Cut and hand out the weights; ready when every rank is.

        Raises:
            EngineError: of whichever node could not.
        """
        assert self._met is not None, "connect() comes first"
        options, links = self.options, self._connected()
        try:
            weights = RankWeights(self.plan, 0, self.options.n_threads)
            where = self._met, self._observer, self.options.n_threads
            self.shares = hand_out(self.model, weights, *where)
            self._pinned.enter_context(pinned(self._slots[0], self._observer.say))
            self._build(weights)
            self._met.await_all("loaded")
            links.is_setting_up = False
            if options.trace:
                from dllama_engine.wire import clock

                self._clocks = {rank: clock.ask(links, rank) for rank in links.peers}
        except MemoryError as error:
            raise InsufficientMemoryError(f"the root is out of memory: {error}") from None
        except ModelFileError as error:  # of this rank or of a worker: neither knows the file
            raise ModelFileError(f"{self.model.path}: {error}") from None
        self._memory.sample()
        links.take_trace()
        self._accounts.begin(links)
        self.load_links = links.totals().counts(0)
        self.load_s = time.perf_counter() - self._start_s
        assert self._transformer is not None
        here = self._transformer.record_spans, self._transformer.keep_spans
        self._seen = Observation(links, *here, spans=options.spans, raw=options.trace)
        self._rehearse()

    def _rehearse(self) -> None:
        """Run a little of each phase: no request is the first to touch memory, sockets and code.

        What it leaves in the cache is written over before it is read.
        """
        for n_tokens, n_logits in self._rehearsal:
            self.forward([0] * n_tokens, 0, n_logits)
        self.forget_costs()

    def _build(self, weights: RankWeights) -> None:
        options = self.options
        self._weight_bytes = weights.nbytes
        links = self._connected()
        self._packet.connect(links)
        vocab = [rank.vocab for rank in self.plan.ranks]
        self._logits = LogitsGather(links if links.peers else None, 0, vocab)
        greedy = self._greedy.loop(self._logits.whole, self._embedding)
        if links.peers:
            ends = DecodeEnds(self._logits, self._packet.routes_of_one, self._packet.bytes, greedy)
        else:
            ends = DecodeEnds(self._logits, greedy=greedy)
        self._transformer = Transformer(
            self.plan,
            0,
            weights,
            links,
            ends=ends,
            n_threads=options.n_threads,
            max_seq_len=self.max_seq_len,
            batch_size=options.batch_size,
            kv_type=options.kv_type,
        )
        self._n_exchanges = self._transformer.n_exchanges
        self._transformer.slow_down(options.inject.slow_work(0))
        self._transformer.read_at(options.memory_rate)

    def _connected(self) -> Links:
        assert self._links is not None, "connect() comes first"
        return self._links

    # -- service ------------------------------------------------------------------------------

    def forward(self, token_ids: Sequence[int], pos: int, n_logits: int) -> tuple[Floats, StepCost]:
        """Run a batch of tokens on all ranks.

        Returns:
            Logits float32 (n_logits, vocab), valid until the next call, and what it cost.
        """
        assert self._transformer is not None, "load() comes first"
        assert self._seen is not None
        links, n_tokens = self._connected(), len(token_ids)
        start_ns, spent_ns = time.perf_counter_ns(), links.spent_ns
        self._seen.begin_step(n_logits)
        x = self._embedded(token_ids, start_ns)
        if n_tokens == n_logits == 1:  # as of every token that is generated
            self._packet.fill(pos, 1, 1)
            logits = self._logits.whole_of_one(self._transformer.decode(x, pos))
        else:
            logits = self._batch(x, pos, n_logits)
        self._seen.end_step(start_ns, pos, n_tokens, n_logits)
        sizes = n_tokens, n_logits
        return logits, self._accounts.add(links, self.plan, start_ns, spent_ns, sizes)

    def decode_greedily(self, token_id: int, pos: int, n_steps: int) -> Iterator[GreedyToken]:
        """Run a token, and the most probable ones behind it in a row; the first one has been.

        Args:
            token_id: what the first step begins with.
            pos: its position.
            n_steps: at most.

        Yields:
            Every step that compiled code could run alone, once it has run them: as many as are
            wanted, or fewer, or none; whoever calls goes on from there by `forward`.

        Raises:
            EngineError: behind the steps that were whole, a worker that is gone.
        """
        transformer, seen, links = self._transformer, self._seen, self._connected()
        assert transformer is not None, "load() comes first"
        assert seen is not None
        if self.options.trace:  # each step's raw spans are Python's
            return
        start_ns, spent_ns = time.perf_counter_ns(), links.spent_ns
        seen.begin_step(1)
        x = self._embedded((token_id,), start_ns)
        self._packet.fill(pos, 1, 1)
        until_ns, error = start_ns + LONGEST_NS, None
        try:
            transformer.decode_greedily(x, pos, start_ns, min(n_steps, MOST_STEPS), until_ns)
        except BaseException as raised:
            error = raised
        rows = self._greedy.rows(transformer.n_decoded)
        seen.add_steps(len(rows) - 1)
        yield from self._greedy.tokens(
            self._accounts.add_in_a_row(
                links, self.plan, spent_ns, rows, self._greedy.counters, self._n_exchanges
            )
        )
        if error is not None:
            raise error

    def _embedded(self, token_ids: Sequence[int], start_ns: int) -> Floats:
        """Embeddings of the step that began at that time, in its packet."""
        x = self._packet.x(len(token_ids))
        self._embedding.copy_rows(token_ids, x)
        assert self._seen is not None
        self._seen.add(EMBEDDING, start_ns, time.perf_counter_ns())
        return x

    def _batch(self, x: Floats, pos: int, n_logits: int) -> Floats:
        """Any other step than a generated token's: of a prompt, or of a text that is scored."""
        assert self._transformer is not None
        if self.options.workers:
            self._packet.send(pos, len(x), n_logits)
        logits = self._logits.gather(self._transformer.forward(x, pos, n_logits))
        assert logits is not None  # this is rank 0
        return logits

    def explain(self, error: EngineError) -> EngineError:
        """Of logits that cannot be: the worker whose bytes explain them, or the error itself."""
        return self._connected().explain(error)

    def count(self, kind: int, start_ns: int, end_ns: int) -> None:
        """Count time of the step under way, by `tables.spans`."""
        assert self._seen is not None
        self._seen.add(kind, start_ns, end_ns)

    def forget_costs(self) -> None:
        """What was run so far is not of the request: its bytes and times are left out."""
        self._accounts.forget()
        if self._seen is not None:
            self._seen.forget()

    def request_links(self) -> LinkTotals:
        """What crossed the links since the model was loaded, or its costs were forgotten."""
        return self._accounts.links()

    def idle_until(self, readable: int) -> None:
        """Wait until a file descriptor can be read, and keep the cluster meanwhile.

        Raises:
            EngineError: a worker that is gone or sends no heartbeat.
        """
        links = self._connected()
        while not select.select([readable], [], [], 0)[0]:
            if links.peers:
                links.heartbeats.watch(math.inf, readable)
            else:
                select.select([readable], [], [], LONGEST_WAIT_S)

    # -- ends ---------------------------------------------------------------------------------

    def finish(self) -> list[Rank]:
        """Say goodbye; returns every rank's account, the root's first.

        Raises:
            EngineError: a worker that is gone, or that answers with something else.
        """
        links = self._connected()
        self._memory.sample()
        spent_ns = self._accounts.compute_ns, self._accounts.sync_ns
        own = RankSummary.of_this_process(
            self.session(0), self._memory, self._weight_bytes, spent_ns,
            self._accounts.all_links(),
            self._seen,
        )  # fmt: skip
        if self._seen is not None:
            self._seen.end()
            if (timeline := self._seen.timeline) is not None:
                from dllama_engine.telemetry.timeline import RankTrace
                from dllama_engine.wire import clock

                self.traces.append(RankTrace(0, "local", timeline, clock.SAME))
        clocks = self._clocks if self.options.trace else None
        accounts, traces = dismiss(links, self.options.timeout_s, clocks, self._beside)
        self.traces += traces
        return [own.event("root", "local"), *accounts]

    def abandon(self, error: BaseException) -> None:
        """Tell the workers why the session ends before its time."""
        if self._links is not None:
            self._links.send_error(error)

    def close(self) -> None:
        """Close every link; the workers go back to waiting for a root."""
        if self._links is not None:
            self._links.close()
            self._links = None
        if self._transformer is not None:
            self._transformer.close()
            self._transformer = None
        self._embedding.close()
        self._pinned.close()
