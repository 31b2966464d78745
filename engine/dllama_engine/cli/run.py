"""One run of a root process: the model, the cluster and whoever listens to what happens.

The modes (inference, chat, perplexity) drive it; it prints dllama's lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from dllama_engine.cli import console
from dllama_engine.cli.flags.arguments import RootArgs
from dllama_engine.cli.run_events import ProgressEvents, RunEvents, utf8
from dllama_engine.cluster.options import RootOptions
from dllama_engine.errors import RequestError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path, tokenizer_path
from dllama_engine.formats.quants import FloatType
from dllama_engine.formats.vocab import read_vocab
from dllama_engine.generation.steps import Tally
from dllama_engine.kernels.cpu import cpu_label
from dllama_engine.memory_rate import UNLIMITED, told
from dllama_engine.recovery import FaultTolerantRoot, Recovery
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.system.regular_file import read_regular
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events.network import Network
from dllama_engine.telemetry.network_stats import network_stats
from dllama_engine.telemetry.observer import Observer
from dllama_engine.text.tokenizer import Tokenizer, vocab_remark
from dllama_engine.version import package_version
from dllama_engine.wire.connecting.token import cluster_token
from dllama_engine.wire.trace import LinkTrace

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
        events: RunEvents,
        show: Callable[[str], None],
        text: str,
        tokenizer: Tokenizer,
        root: FaultTolerantRoot,
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
        if args.trace is not None:
            from dllama_engine.tracing.trace_file import check_target

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
            progress = ProgressEvents(events, show if is_terminal else None)
            observer = Observer(lambda line: show(line + "\n"), progress)
            recovery = Recovery(args.retry_lost, args.shrink)
            root = FaultTolerantRoot(model, plan, _options(args), recovery, observer, events.emit)
            told = RunEvents(events, args, root)
            run = cls(args, told, show, text, tokenizer, root, progress)
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
        self.events.start()
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
            self.events.collective()
        say("💿 Loading weights...")
        root.load()
        say("💿 Weights loaded")
        if self.args.workers:
            for line in console.collective_lines(root.plan, root.choice):
                say(line)
            say(f"🔀 Topology: pp=1 tp={self.plan.world_size}")
            say("📊 Network performance monitoring enabled")
        self.events.ready()

    def same_again(self) -> RootArgs:
        """The arguments, with what a probe picked in place of `auto`."""
        settled = self.plan.settled(self.plan.picks)
        return replace(self.args, collective=str(settled.collective), overlap=str(settled.overlap))

    def new_tally(self) -> Tally:
        """An empty sum over the steps to come."""
        return Tally(LinkTrace(range(1, self.plan.world_size)))

    def finish(self, tally: Tally) -> None:
        """Say goodbye to the workers; every rank's summary and the network report."""
        for rank in self.root.finish():
            self.events.writer.emit(rank)
        stats = network_stats(self.root.own_trace or tally.trace, self.root.request_links())
        self.events.writer.emit(Network(stats.links, stats.ops))
        if self.args.trace is not None:
            self.say(self._write_trace(self.args.trace))
        if stats.links:
            for line in console.network_report(stats):
                self.say(line)
            self.say("⭕ Network is closed")

    def _write_trace(self, target: str) -> str:
        """The raw spans of all ranks; a line for people."""
        from dllama_engine.tracing.trace_file import write_trace

        about = {
            "version": package_version(),
            "model": self.model.path.name,
            "collective": str(self.plan.collective),
            "overlap": str(self.plan.overlap),
            "command": utf8(" ".join(sys.argv)),
        }
        return write_trace(target, self.root.traces, about, self.events.writer)

    def abandon(self, error: BaseException) -> None:
        """Tell the workers why there will be no goodbye."""
        self.root.abandon(error)

    def close(self) -> None:
        """Close links and files, whatever happened."""
        self.root.close()
        self.model.close()


def _text(args: RootArgs) -> str:
    """The text of `--prompt` or of `--file`."""
    if args.file is None:
        return args.prompt or ""
    try:
        return read_regular(args.file, MAX_TEXT_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise RequestError(f"--file {args.file}: {error.strerror or error}") from None


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
