"""The events of a root process: the fields of each, from the run's own values."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import fields

from dllama_engine.cli.flags.arguments import RootArgs
from dllama_engine.generation.steps import Step, Tally
from dllama_engine.kernels.cpu import cpu_label
from dllama_engine.recovery import FaultTolerantRoot
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events.base import PROTOCOL
from dllama_engine.telemetry.events.loading import Progress, Ready
from dllama_engine.telemetry.events.request import Done, FinishReason, Request, Scored
from dllama_engine.telemetry.events.session import RankAddress, Start
from dllama_engine.telemetry.plan import collective_event, plan_event
from dllama_engine.version import package_version
from dllama_engine.wire.connecting.dialing import format_address

PROGRESS_PERIOD_S = 0.1


class RunEvents:
    """Emits them.

    Args:
        writer: of the stream.
        args: of the command line.
        root: whose session it is.
    """

    def __init__(self, writer: EventWriter, args: RootArgs, root: FaultTolerantRoot) -> None:
        self.writer, self._args, self._root = writer, args, root

    def start(self) -> None:
        """What runs, and how it is split."""
        args, root = self._args, self._root
        path, config = root.model.path, root.model.config
        addresses = ["local", *map(format_address, args.workers)]
        start = Start(
            protocol=PROTOCOL,
            version=package_version(),
            argv=sys.argv,
            mode=args.mode,
            model={
                "path": str(path),
                "size_bytes": path.stat().st_size,
                **config.to_json(),
            },
            world_size=root.plan.world_size,
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
        self.writer.emit(start)
        self.plan()

    def plan(self) -> None:
        """Who holds what."""
        memories = [self._root.memory_needed(rank) for rank in range(self._root.plan.world_size)]
        self.writer.emit(plan_event(self._root.plan, memories))

    def collective(self) -> None:
        """How nodes will exchange; the plan again where that was open until now."""
        self.writer.emit(collective_event(self._root.plan, self._root.choice))
        if self._root.choice is not None:
            self.plan()

    def ready(self) -> None:
        """All ranks are loaded."""
        root = self._root
        self.writer.emit(Ready(root.load_s, root.load_links, root.shares))

    def request(self, t_ns: int, prompt: str, input_ids: list[int], steps: int, seed: int) -> None:
        """The request as it is about to run."""
        request = Request(
            prompt=utf8(prompt),
            n_input_tokens=len(input_ids),
            input_ids=input_ids,
            steps=steps,
            temperature=self._args.temperature,
            topp=self._args.topp,
            seed=seed,
        )
        self.writer.emit(request, t_ns=t_ns)

    def step(self, step: Step) -> None:
        """One more step for whoever reads the events."""
        if self.writer.is_on:
            self.writer.emit(step.event(), t_ns=step.end_ns)

    def done(
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
        told = Done(
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
            told = _scored(told, total_log_prob)
        self.writer.emit(told)


def _scored(done: Done, total_log_prob: float) -> Scored:
    average = total_log_prob / (done.n_input_tokens - 1)
    values = {field.name: getattr(done, field.name) for field in fields(done)}
    perplexity = math.exp(min(-average, 700.0))
    return Scored(**values, perplexity=perplexity, avg_log_prob=average)


def utf8(text: str) -> str:
    """Bytes of arguments that an ASCII locale hid are text again; what is no UTF-8 is U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class ProgressEvents:
    """Progress events, a few a second; on a terminal a line that overwrites itself."""

    def __init__(self, events: EventWriter, show: Callable[[str], None] | None) -> None:
        self._events, self._show = events, show
        self._last_s = 0.0

    def __call__(self, phase: str, done: int, total: int, unit: str) -> None:
        """How much of a phase is done; what comes too soon after the last is left out."""
        now_s = time.monotonic()
        if done == total or now_s - self._last_s >= PROGRESS_PERIOD_S:
            self._last_s = now_s
            self._events.emit(Progress(phase, done, total, unit))
            if self._show is not None and phase == "load":
                self._show(f"\r💿 {100 * done // total:3d} %{chr(13) if done == total else ''}")
