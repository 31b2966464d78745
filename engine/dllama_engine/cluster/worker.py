"""The worker process: serves one session after another, for ever; outlives every root."""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dllama_engine.cluster.placement import is_crowded, pinned
from dllama_engine.cluster.session import CONTROL, MESH_TIMEOUT_S, Greeting, SessionConfig
from dllama_engine.cluster.summary import RankSummary
from dllama_engine.errors import EngineError, InsufficientMemoryError, WireError, WorkerLost
from dllama_engine.injection import NOTHING, Injection
from dllama_engine.loading.settings import OFF, CacheSettings
from dllama_engine.memory_rate import UNLIMITED, told
from dllama_engine.system.process_memory import PeakMemory
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events import Listening, SessionEnd, SessionStart
from dllama_engine.wire import clock
from dllama_engine.wire.connecting.dialing import format_address, reach
from dllama_engine.wire.connecting.handshake import (
    HANDSHAKE_TIMEOUT_S,
    DialerRole,
    receive_text,
    send_text,
)
from dllama_engine.wire.connecting.listener import Caller, Listener
from dllama_engine.wire.frames import SESSION, SYNC_WITH_ROOT
from dllama_engine.wire.links import Links
from dllama_engine.wire.trace import LinkTotals

if TYPE_CHECKING:
    from dllama_engine.formats.model_file import ModelFile
    from dllama_engine.loading.share import KeptShare
    from dllama_engine.telemetry.observation import Observation
    from dllama_engine.transformer.transformer import Transformer
    from dllama_engine.transformer.weights import RankWeights

Log = Callable[[str], None]
_LOOK_S = 0.1  # at the root, while peers are waited for


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


class Worker:
    """Listens, and serves whoever holds the cluster's token."""

    def __init__(self, options: WorkerOptions, events: EventWriter, log: Log) -> None:
        self._options, self._events, self._log = options, events, log
        self._listener = Listener(options.host, options.port, options.token, options.n_threads, log)

    def serve(self) -> None:
        """Serve sessions until nobody has come for the idle timeout.

        Raises:
            WireError: the address cannot be listened on.
        """
        options = self._options
        port = self._listener.open()
        self._log(f"Listening on {options.host}:{port}...")
        if _is_every_address(options.host):
            self._log(
                f"⚠️  This is every address of this host: all who can reach port {port} may knock, "
                "and nothing is encrypted behind the handshake. Name one address of a network that "
                "you trust with --host, or go through a tunnel (docs/security.md)"
            )
        self._events.emit(Listening(options.host, port, os.getpid()))
        try:
            while (root := self._listener.next_root(options.idle_timeout_s)) is not None:
                self._serve_one(root)
            self._log(f"⭕ No root came for {options.idle_timeout_s:g} s")
        finally:
            self._listener.close()

    def _serve_one(self, root: Caller) -> None:
        """One session; whatever ends it, the worker is ready for the next."""
        self._log(f"⭕ The root node has connected from {root.address}")
        self._events.emit(SessionStart(root.address))
        session = WorkerSession(root, self._listener, self._options, self._log)
        try:
            session.run()
            reason = "the root ended the session"
        except (EngineError, OSError) as error:
            reason = str(error)
            self._log(f"🚨 Session error: {reason}")
        except Exception as error:  # a bug must cost one session, not the worker
            reason = f"{type(error).__name__}: {error}"
            self._log(f"🚨 Session error: {reason}\n{traceback.format_exc()}")
        finally:
            session.close()
            self._listener.release()
        self._log("⭕ Network is closed")
        self._events.emit(SessionEnd(reason))


def _is_every_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host or "0.0.0.0").is_unspecified
    except ValueError:  # a name
        return False


class WorkerSession:
    """One root's session on this worker, from its config to the summary."""

    def __init__(self, root: Caller, listener: Listener, options: WorkerOptions, log: Log) -> None:
        self._root, self._listener, self._options, self._log = root, listener, options, log
        self._links: Links | None = None
        self._transformer: Transformer | None = None
        self._share: KeptShare | None = None  # while it loads
        self._memory = PeakMemory()
        self._compute_ns = self._sync_ns = 0

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
            links.say_last_words(problem)
            raise problem from None
        except BaseException as error:
            links.say_last_words(error)
            raise

    def _run(self, config: SessionConfig, links: Links) -> None:
        self._connect(config, links)
        links.is_crowded = is_crowded(config.slots)
        self._log("⭕ Network is initialized")
        _warm_up(config, self._log, links)
        from dllama_engine.cluster.choosing import choose_as_worker
        from dllama_engine.loading.mapping import open_same

        model = open_same(config.model_file)
        links.send_json(SESSION, 0, {"state": "connected", **self._said(config, model)})
        serving = choose_as_worker(config.plan, links, config.slots, config.batch_size)
        config = replace(config, plan=serving)
        weights = self._load(config, links, model)
        with pinned(config.slots, self._log):
            self._transformer = self._build(config, weights, links)
            self._memory.sample()
            links.send_json(SESSION, 0, {"state": "loaded"})
            links.is_setting_up = False
            seen = self._observe(config, links)
            totals = self._serve(config, links, seen)
        seen.end()
        self._memory.sample()
        spent_ns = self._compute_ns, self._sync_ns
        summary = RankSummary.of_this_process(
            config, self._memory, weights.nbytes, spent_ns, totals, seen
        )
        if config.trace:
            clock.answer(links)
        links.send_json(SESSION, 0, summary.to_json())
        if (timeline := seen.timeline) is not None:
            from dllama_engine.telemetry.timeline import send_timeline

            send_timeline(links, timeline)

    # -- set-up -------------------------------------------------------------------------------

    def _connect(self, config: SessionConfig, links: Links) -> None:
        """Dial the workers of lower rank, wait for those of higher rank."""
        for rank in range(1, config.rank):
            self._connect_one(config, links, rank)
        self._await_peers(config, links)
        links.stop_tracing()  # the root's records are the ones that are kept

    def _connect_one(self, config: SessionConfig, links: Links, rank: int) -> None:
        address = config.workers[rank - 1]
        name = format_address(address)
        self._log(f"⭕ Socket[{rank}]: connecting to {name} worker")
        sock, _ = reach(
            address,
            DialerRole.PEER,
            self._options.token,
            rank,
            patience_s=min(MESH_TIMEOUT_S / 3, config.timeout_s),
            timeout_s=min(HANDSHAKE_TIMEOUT_S, config.timeout_s),
            meanwhile=links.presence.attend,
        )
        try:
            greeting = {"session": config.session_id, "rank": config.rank}
            send_text(sock, greeting, HANDSHAKE_TIMEOUT_S)
        except OSError as error:
            sock.close()
            reason = error.strerror or error
            raise WorkerLost(f"worker {rank} at {name} is lost ({reason})", rank) from None
        links.add(rank, sock, name)
        self._log(f"⭕ Socket[{rank}]: connected")

    def _await_peers(self, config: SessionConfig, links: Links) -> None:
        missing = set(range(config.rank + 1, config.plan.world_size))
        patience_s = min(MESH_TIMEOUT_S, config.timeout_s)
        until_s = time.monotonic() + patience_s
        while missing:
            peer = self._listener.next_peer(_LOOK_S)
            links.presence.attend()
            if peer is not None:
                rank = peer.greeting.get("rank")
                if peer.greeting.get("session") != config.session_id or rank not in missing:
                    peer.sock.close()
                    continue
                missing.remove(rank)
                links.add(rank, peer.sock, format_address(config.workers[rank - 1]))
            elif time.monotonic() > until_s:
                raise WireError(
                    f"worker {config.rank} waited {patience_s:g} s for "
                    f"{', '.join(f'worker {rank}' for rank in sorted(missing))}: does it run, and "
                    f"can it reach {format_address(config.workers[config.rank - 1])}? "
                    "127.0.0.1 in --workers is another machine on every host",
                    min(missing),
                )

    def _said(self, config: SessionConfig, model: ModelFile | None) -> dict[str, object]:
        """How this rank may come to its weights, in plain values."""
        from dllama_engine.loading.cache import WeightCache
        from dllama_engine.loading.share import KeptShare

        cache = WeightCache(self._options.cache, self._log)
        if model is not None:
            return {"maps": True}
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
                map_weights(model, weights, links.presence.attend)
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
                missing = share.take(answer["take"], weights, links.presence.attend)
                links.send_json(SESSION, 0, {"state": "cached", "missing": missing})
        share.receive(links, weights, links.presence.attend)
        share.close()
        self._share = None

    def _build(self, config: SessionConfig, weights: RankWeights, links: Links) -> Transformer:
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
            clock.answer(links)
        here = self._transformer.record_spans, self._transformer.keep_spans
        return Observation(links, *here, spans=config.spans, raw=config.trace)

    def _serve(self, config: SessionConfig, links: Links, seen: Observation) -> LinkTotals:
        """Forward passes as the root asks for them; returns the counters before the goodbye."""
        from dllama_engine.collectives.logits import LogitsGather

        assert self._transformer is not None
        dim, vocab = config.plan.config.dim, [rank.vocab for rank in config.plan.ranks]
        logits = LogitsGather(links, config.rank, vocab)
        packet = np.empty(config.packet_bytes, np.uint8)
        counters = links.table.copy()
        rehearsals = config.rehearsals  # still to come
        while True:
            spent_ns, idle_ns = links.spent_ns, time.perf_counter_ns()
            size = links.receive(SYNC_WITH_ROOT, 0, packet, config.timeout_s)
            pos, n_tokens, n_logits = CONTROL.unpack_from(packet.data)
            if n_tokens == 0:
                return links.totals(counters)
            if size != CONTROL.size + 4 * dim * n_tokens or n_logits > n_tokens or pos < 0:
                raise WireError(
                    f"the root asked for {n_tokens} tokens at {pos} and {n_logits} logits with "
                    f"{size} bytes; that cannot be"
                )
            start_ns, received_ns = time.perf_counter_ns(), links.spent_ns
            goes_on = seen.begin_step(n_logits)  # else it was the user that all waited for
            moving_ns = received_ns - spent_ns
            seen.add_receipt(SYNC_WITH_ROOT, 0, idle_ns, start_ns, moving_ns, waited=goes_on)
            x = packet[CONTROL.size : size].view(np.float32).reshape(n_tokens, dim)
            logits.gather(self._transformer.forward(x, pos, n_logits), self._transformer.logits_at)
            forward_ns = time.perf_counter_ns() - start_ns
            seen.end_step(start_ns, pos, n_tokens, n_logits)
            counters = links.table.copy()
            if pos < config.context_depth or rehearsals > 0:
                rehearsals -= 1
                seen.forget()
            else:
                self._sync_ns += links.spent_ns - spent_ns
                self._compute_ns += forward_ns - (links.spent_ns - received_ns)

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


def _warm_up(config: SessionConfig, log: Log, links: Links) -> None:
    from dllama_engine.cluster.warmup import warm_up

    def attend(wake: int) -> None:
        links.presence.attend(_LOOK_S, wake)

    warm_up(config.plan, config.kv_type, log, attend)
