"""One run of a root process: the model, the cluster and whoever listens to what happens.

The modes (inference, chat, perplexity) drive it; it prints dllama's lines and emits the events.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial

from dllama_engine.cli import console
from dllama_engine.cli.flags.arguments import RootArgs
from dllama_engine.cluster.root import RootOptions
from dllama_engine.errors import RequestError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path, tokenizer_path
from dllama_engine.formats.quants import FloatType
from dllama_engine.formats.vocab import read_vocab
from dllama_engine.generation.steps import Step, Tally
from dllama_engine.kernels.cpu import cpu_label
from dllama_engine.memory_rate import UNLIMITED, told
from dllama_engine.recovery import LastingRoot, Recovery
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.system.regular_file import read_regular
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events.base import PROTOCOL
from dllama_engine.telemetry.events.ranks import Network
from dllama_engine.telemetry.events.request import Done, FinishReason, Request, Scored
from dllama_engine.telemetry.events.session import Progress, RankAddress, Ready, Start
from dllama_engine.telemetry.network_stats import network_stats
from dllama_engine.telemetry.observer import Observer
from dllama_engine.telemetry.plan import collective_event, plan_event
from dllama_engine.text.tokenizer import Tokenizer, vocab_remark
from dllama_engine.tracing.trace_file import check_target, write_trace
from dllama_engine.version import package_version
from dllama_engine.wire.connecting.dialing import format_address
from dllama_engine.wire.connecting.token import cluster_token
from dllama_engine.wire.trace import LinkTrace

PROGRESS_PERIOD_S = 0.1
MAX_TEXT_BYTES = 64 << 20  # of a file with a prompt: more than any context holds


class RootRun:
    """Opened by `open`, ready after `start`, summed up by `finish`, always `close`d.

    Attributes:
        text: the prompt's or the scored file's; empty in a chat.
        is_watched: whether people see what is printed as it comes.
    """

    def __init__(
        self,
        args: RootArgs,
        events: EventWriter,
        show: Callable[[str], None],
        text: str,
        tokenizer: Tokenizer,
        root: LastingRoot,
        progress: Callable[[str, int, int, str], None],
    ) -> None:
        self.args, self.events, self.show = args, events, show
        self.text, self.tokenizer, self.root = text, tokenizer, root
        self.progress = progress
        self.is_watched = False
        self.model = root.model

    @classmethod
    def open(
        cls,
        args: RootArgs,
        events: EventWriter,
        show: Callable[[str], None],
        *,
        is_terminal: bool = False,
    ) -> RootRun:
        """Read and check files, split the model; no connection is made yet.

        Raises:
            EngineError: a file that is not there or damaged, a model that cannot be split so.
        """
        check_target(args.trace)
        text, path = _text(args), model_path(args.model)
        with ExitStack() as opened:
            model = opened.enter_context(ModelFile.open(path))
            vocab = read_vocab(tokenizer_path(args.tokenizer, path))
            tokenizer = Tokenizer(vocab, model.config.vocab_size)
            plan = partial(
                make_plan,
                model.config,
                buffer_type=FloatType.parse(args.buffer_float_type),
                sync_mode=SyncMode(args.sync_mode),
                collective=args.collective,
                overlap=args.overlap,
            )
            progress = _Progress(events, show if is_terminal else None)
            observer = Observer(lambda line: show(line + "\n"), progress)
            recovery = Recovery(args.retry_lost, args.shrink)
            root = LastingRoot(model, plan, _options(args), recovery, observer, events.emit)
            run = cls(args, events, show, text, tokenizer, root, progress)
            run.is_watched = is_terminal
            opened.pop_all()
        return run

    @property
    def plan(self) -> ShardPlan:
        """The split; `connect` settles how its nodes exchange."""
        return self.root.plan

    def say(self, line: str) -> None:
        """Print one line for people."""
        self.show(line + "\n")

    def start(self) -> None:
        """Print the header, connect, load, warm up."""
        root, say = self.root, self.say
        self._emit_start()
        for line in console.tokenizer_lines(self.tokenizer.vocab):
            say(line)
        for line in console.model_lines(self.model.config, root.max_seq_len):
            say(line)
        if remark := vocab_remark(self.model.config, self.tokenizer.vocab):
            say(f"⚠️  {remark}")
        say(console.required_memory_line(root.memory_needed(0).total_bytes))
        if self.args.workers:
            say(f"⭕ Root expects {len(self.args.workers)} workers")
        say(f"🧠 CPU: {cpu_label()}")
        if self.args.inject.text:
            say(f"⚠️  Slowed down on purpose: --inject {self.args.inject.text}")
        if self.args.memory_rate != UNLIMITED:
            say(told(self.args.memory_rate))
        root.connect()
        if self.args.workers:
            self._emit_collective()
        say("💿 Loading weights...")
        root.load()
        say("💿 Weights loaded")
        if self.args.workers:
            for line in console.collective_lines(root.plan, root.choice):
                say(line)
            say(f"🔀 Topology: pp=1 tp={self.plan.world_size}")
            say("📊 Network performance monitoring enabled")
        self.events.emit(Ready(root.load_s, root.load_links, root.shares))

    def same_again(self) -> RootArgs:
        """The arguments, with what a probe picked in place of `auto`."""
        settled = self.plan.settled(self.plan.picks)
        return replace(self.args, collective=str(settled.collective), overlap=str(settled.overlap))

    def new_tally(self) -> Tally:
        """An empty sum over the steps to come."""
        return Tally(LinkTrace(range(1, self.plan.world_size)))

    def emit_request(
        self, t_ns: int, prompt: str, input_ids: list[int], steps: int, seed: int
    ) -> None:
        """The request as it is about to run."""
        request = Request(
            prompt=_utf8(prompt),
            n_input_tokens=len(input_ids),
            input_ids=input_ids,
            steps=steps,
            temperature=self.args.temperature,
            topp=self.args.topp,
            seed=seed,
        )
        self.events.emit(request, t_ns=t_ns)

    def emit_step(self, step: Step) -> None:
        """One more step for whoever reads the events."""
        if self.events.is_on:
            self.events.emit(step.event(), t_ns=step.end_ns)

    def emit_done(
        self,
        tally: Tally,
        request_ns: int,
        n_input_tokens: int,
        finish_reason: FinishReason,
        total_log_prob: float | None = None,
    ) -> None:
        """The request's own figures, by the definitions of METRICS.

        Args:
            tally: of its steps.
            request_ns: when its clock started.
            n_input_tokens: of its prompt.
            finish_reason: what ended it.
            total_log_prob: of all its tokens after the first, if it scored a text.
        """
        first_ns, last_ns = tally.first_token_ns, tally.last_token_ns
        done = Done(
            n_input_tokens=n_input_tokens,
            n_output_tokens=tally.n_decode_tokens,
            prefill_s=tally.prefill_ns / 1e9,
            decode_s=tally.decode_ns / 1e9,
            ttft_s=None if first_ns is None else (first_ns - request_ns) / 1e9,
            rct_s=None if last_ns is None else (last_ns - request_ns) / 1e9,
            finish_reason=finish_reason,
            text="".join(tally.pieces),
        )
        if total_log_prob is not None:
            done = _scored(done, total_log_prob)
        self.events.emit(done)

    def finish(self, tally: Tally) -> None:
        """Say goodbye to the workers; every rank's summary and the network report."""
        for rank in self.root.finish():
            self.events.emit(rank)
        stats = network_stats(self.root.own_trace or tally.trace, self.root.request_links())
        self.events.emit(Network(stats.links, stats.ops))
        if self.args.trace is not None:
            self.say(self._write_trace(self.args.trace))
        if stats.links:
            for line in console.network_report(stats):
                self.say(line)
            self.say("⭕ Network is closed")

    def _write_trace(self, target: str) -> str:
        """The raw spans of all ranks; a line for people."""
        about = {
            "version": package_version(),
            "model": self.model.path.name,
            "collective": str(self.plan.collective),
            "overlap": str(self.plan.overlap),
            "command": _utf8(" ".join(sys.argv)),
        }
        return write_trace(target, self.root.traces, about, self.events)

    def abandon(self, error: BaseException) -> None:
        """Tell the workers why there will be no goodbye."""
        self.root.abandon(error)

    def close(self) -> None:
        """Close links and files, whatever happened."""
        self.root.close()
        self.model.close()

    def _emit_start(self) -> None:
        args, root, config = self.args, self.root, self.model.config
        path = self.model.path
        addresses = ["local", *map(format_address, args.workers)]
        start = Start(
            protocol=PROTOCOL,
            version=package_version(),
            argv=sys.argv,
            mode=args.mode,
            model={"path": str(path), "size_bytes": path.stat().st_size, **config.to_json()},
            world_size=self.plan.world_size,
            buffer_float_type=args.buffer_float_type,
            sync_mode=args.sync_mode,
            nthreads=args.n_threads,
            batch_size=args.batch_size,
            max_seq_len=root.max_seq_len,
            kv_type=args.kv_type,
            cpu=cpu_label(),
            pid=os.getpid(),
            ranks=tuple(RankAddress(*rank) for rank in enumerate(addresses)),
        )
        self.events.emit(start)
        self._emit_plan()

    def _emit_plan(self) -> None:
        memories = [self.root.memory_needed(rank) for rank in range(self.plan.world_size)]
        self.events.emit(plan_event(self.plan, memories))

    def _emit_collective(self) -> None:
        """How nodes will exchange; the plan again where that was open until now."""
        self.events.emit(collective_event(self.plan, self.root.choice))
        if self.root.choice is not None:
            self._emit_plan()


def _text(args: RootArgs) -> str:
    """The text of `--prompt` or of `--file`."""
    if args.file is None:
        return args.prompt or ""
    try:
        return read_regular(args.file, MAX_TEXT_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise RequestError(f"--file {args.file}: {error.strerror or error}") from None


def _utf8(text: str) -> str:
    """Bytes of arguments that an ASCII locale hid are text again; what is no UTF-8 is U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _options(args: RootArgs) -> RootOptions:
    return RootOptions(
        workers=args.workers,
        token=cluster_token(args.token_file) if args.workers else b"",
        n_threads=args.n_threads,
        batch_size=args.batch_size,
        max_seq_len=args.max_seq_len,
        kv_type=FloatType.parse(args.kv_type),
        context_depth=args.context_depth,
        timeout_s=args.timeout_s,
        connect_timeout_s=args.connect_timeout_s,
        spans=args.spans == "on",
        trace=args.trace is not None,
        inject=args.inject,
        memory_rate=args.memory_rate,
        maps_local_weights=args.local_weights == "map",
        keeps_cores=args.cores == "own",
    )


def _scored(done: Done, total_log_prob: float) -> Scored:
    average = total_log_prob / (done.n_input_tokens - 1)
    values = {field.name: getattr(done, field.name) for field in fields(done)}
    perplexity = math.exp(min(-average, 700.0))
    return Scored(**values, perplexity=perplexity, avg_log_prob=average)


class _Progress:
    """Progress events, a few a second; on a terminal a line that overwrites itself."""

    def __init__(self, events: EventWriter, show: Callable[[str], None] | None) -> None:
        self._events, self._show = events, show
        self._last_s = 0.0

    def __call__(self, phase: str, done: int, total: int, unit: str) -> None:
        now_s = time.monotonic()
        if done == total or now_s - self._last_s >= PROGRESS_PERIOD_S:
            self._last_s = now_s
            self._events.emit(Progress(phase, done, total, unit))
            if self._show is not None and phase == "load":
                self._show(f"\r💿 {100 * done // total:3d} %{chr(13) if done == total else ''}")
