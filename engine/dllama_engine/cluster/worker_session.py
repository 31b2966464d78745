"""One session of a worker: from the root's greeting to the summary.

What only a session needs is imported in it: a worker that waits for a root stays small.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dllama_engine.cluster.placement import available_cores, pinned, ranks_apart
from dllama_engine.cluster.session import Greeting, SessionConfig
from dllama_engine.cluster.setup.peers import join_peers
from dllama_engine.cluster.summary import RankSummary
from dllama_engine.errors import InsufficientMemoryError
from dllama_engine.injection import NOTHING, Injection
from dllama_engine.loading.settings import OFF, CacheSettings
from dllama_engine.memory_rate import UNLIMITED, told
from dllama_engine.system.process_memory import PeakMemory
from dllama_engine.wire.connecting.handshake import (
    HANDSHAKE_TIMEOUT_S,
    receive_text,
)
from dllama_engine.wire.connecting.listener import Caller, Listener
from dllama_engine.wire.frames import SESSION
from dllama_engine.wire.links import Links

if TYPE_CHECKING:
    from dllama_engine.formats.model_file import ModelFile
    from dllama_engine.loading.share import KeptShare
    from dllama_engine.telemetry.observation import Observation
    from dllama_engine.transformer.decode import DecodeEnds
    from dllama_engine.transformer.transformer import Transformer
    from dllama_engine.transformer.weights import RankWeights

Log = Callable[[str], None]
_LOOK_S = 0.1  # at the root, while kernels are made ready


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the command line says to a worker."""

    host: str
    port: int
    n_threads: int
    token: bytes
    idle_timeout_s: float | None = None
    inject: Injection = NOTHING
    cache: CacheSettings = OFF  # of weights, between sessions
    memory_rate: float = UNLIMITED  # emulated, bytes a second


class WorkerSession:
    """One root's session on this worker, from its config to the summary."""

    def __init__(self, root: Caller, listener: Listener, options: WorkerOptions, log: Log) -> None:
        self._root, self._listener, self._options, self._log = root, listener, options, log
        self._links: Links | None = None
        self._transformer: Transformer | None = None
        self._share: KeptShare | None = None  # while it loads
        self._memory = PeakMemory()

    def run(self) -> None:
        """Set up, load, serve and sum up.

        Raises:
            EngineError: why the session ended before its time; the peers have been told.
        """
        self._memory.start()
        greeting = Greeting.from_json(receive_text(self._root.sock, HANDSHAKE_TIMEOUT_S))
        self._log(f"⭕ nNodes: {greeting.world_size}")
        self._log(f"⭕ NodeIndex: {greeting.rank}")
        links = self._links = Links(greeting.rank, greeting.world_size, {}, greeting.timeout_s)
        links.add(0, self._root.sock, self._root.address)
        links.is_setting_up = True
        try:
            data = links.receive_json(SESSION, 0, timeout_s=greeting.timeout_s)
            self._run(SessionConfig.from_json(data), links)
        except MemoryError as error:
            problem = InsufficientMemoryError(f"out of memory on {socket.gethostname()}: {error}")
            links.send_error(problem)
            raise problem from None
        except BaseException as error:
            links.send_error(error)
            raise

    def _run(self, config: SessionConfig, links: Links) -> None:
        join_peers(config, links, self._listener, self._options.token, self._log)
        links.stop_tracing()  # the root's records are the ones that are kept
        links.share_cores(ranks_apart(config.slots, available_cores()))
        self._log("⭕ Network is initialized")
        _warm_up(config, self._log, links)
        from dllama_engine.cluster.service import StepService
        from dllama_engine.cluster.setup.choosing import choose_as_worker
        from dllama_engine.loading.mapping import open_same

        model = open_same(config.model_file)
        links.send_json(SESSION, 0, {"state": "connected", **self._said(config, model)})
        serving = choose_as_worker(config.plan, links, config.slots, config.batch_size)
        config = replace(config, plan=serving)
        weights = self._load(config, links, model)
        with pinned(config.slots, self._log):
            service = StepService(config, links)
            self._transformer = self._build(config, weights, links, service.ends)
            self._memory.sample()
            links.send_json(SESSION, 0, {"state": "loaded"})
            links.is_setting_up = False
            seen = self._observe(config, links)
            totals = service.run(self._transformer, seen)
        seen.end()
        self._memory.sample()
        spent_ns = service.compute_ns, service.sync_ns
        summary = RankSummary.of_this_process(
            config, self._memory, weights.nbytes, spent_ns, totals, seen
        )
        if config.trace:
            _tell_clock(links)
        links.send_json(SESSION, 0, summary.to_json())
        if (timeline := seen.timeline) is not None:
            from dllama_engine.telemetry.timeline import send_timeline

            send_timeline(links, timeline)

    # -- set-up -------------------------------------------------------------------------------

    def _said(self, config: SessionConfig, model: ModelFile | None) -> dict[str, object]:
        """How this rank may come to its weights, in plain values."""
        if model is not None:
            return {"maps": True}
        from dllama_engine.loading.cache import WeightCache
        from dllama_engine.loading.share import KeptShare

        cache = WeightCache(self._options.cache, self._log)
        self._share = KeptShare(cache, config.plan, config.rank, self._log)
        return {"maps": False, "keeps": cache.is_on, "offers": self._share.offers()}

    def _load(self, config: SessionConfig, links: Links, model: ModelFile | None) -> RankWeights:
        """Take this rank's share from the root's file, the cache, or as it comes."""
        from dllama_engine.loading.mapping import map_weights
        from dllama_engine.transformer.weights import RankWeights

        weights = RankWeights(config.plan, config.rank, self._options.n_threads)
        if model is not None:
            self._log(f"⭕ Mapping {model.path}")
            with model:
                map_weights(model, weights, links.heartbeats.watch)
        elif self._share is not None:
            self._take_share(self._share, weights, links, config.timeout_s)
        self._log("💿 Weights loaded")
        return weights

    def _take_share(
        self, share: KeptShare, weights: RankWeights, links: Links, timeout_s: float
    ) -> None:
        if share.has_offers:
            answer = links.receive_json(SESSION, 0, timeout_s=timeout_s)
            if answer.get("take") is not None:
                missing = share.take(answer["take"], weights, links.heartbeats.watch)
                links.send_json(SESSION, 0, {"state": "cached", "missing": missing})
        share.receive(links, weights, links.heartbeats.watch)
        share.close()
        self._share = None

    def _build(
        self, config: SessionConfig, weights: RankWeights, links: Links, ends: DecodeEnds
    ) -> Transformer:
        from dllama_engine.kernels.cpu import cpu_label
        from dllama_engine.transformer.transformer import Transformer

        self._log(f"📀 RequiredMemory: {config.memory_needed.total_bytes >> 20} MB")
        self._log(f"🧠 CPU: {cpu_label()}")
        inject = self._options.inject
        if inject.text:
            self._log(f"⚠️  Slowed down on purpose: --inject {inject.text}")
        if self._options.memory_rate != UNLIMITED:
            self._log(told(self._options.memory_rate))
        transformer = Transformer(
            config.plan,
            config.rank,
            weights,
            links,
            ends=ends,
            n_threads=self._options.n_threads,
            max_seq_len=config.max_seq_len,
            batch_size=config.batch_size,
            kv_type=config.kv_type,
        )
        transformer.slow_down(inject.slow_work(config.rank))
        transformer.read_at(self._options.memory_rate)
        return transformer

    # -- service ------------------------------------------------------------------------------

    def _observe(self, config: SessionConfig, links: Links) -> Observation:
        """Where this rank's time goes, from now on."""
        from dllama_engine.telemetry.observation import Observation

        assert self._transformer is not None
        if config.trace:
            _tell_clock(links)
        here = self._transformer.record_spans, self._transformer.keep_spans
        return Observation(links, *here, spans=config.spans, raw=config.trace)

    # -- ends ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of sockets, threads, files and memory."""
        if self._share is not None:
            self._share.close()
            self._share = None
        if self._links is not None:
            self._links.close()
        self._root.sock.close()
        if self._transformer is not None:
            self._transformer.close()
        self._transformer = self._links = None
        # Its operations refer back to the transformer: until a collection its memory stays taken.
        gc.collect()


def _tell_clock(links: Links) -> None:
    from dllama_engine.wire import clock

    clock.answer(links)


def _warm_up(config: SessionConfig, log: Log, links: Links) -> None:
    from dllama_engine.cluster.setup.warmup import warm_up

    def attend(wake: int) -> None:
        links.heartbeats.watch(_LOOK_S, wake)

    warm_up(config.plan, config.kv_type, log, attend)
