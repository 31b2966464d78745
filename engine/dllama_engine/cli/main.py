"""`dllama-py`: dllama's modes and flags; every end of the process has its exit code here.

0 done, 1 an error of the user's or the cluster's, 2 usage, 130 Ctrl-C, 141 nobody reads the
output, 143 SIGTERM (a worker that is told to stop has done its work: 0).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from dllama_engine.cli.flags import parsing
from dllama_engine.cli.flags.arguments import PlanArgs, RootArgs, WorkerArgs
from dllama_engine.cli.gc_pause import gc_paused
from dllama_engine.errors import EngineError, OutputError, WireError
from dllama_engine.system import process
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events.process import End, Error

if TYPE_CHECKING:
    from dllama_engine.cli.run import RootRun

Show = Callable[[str], None]
Mode = Callable[["RootRun"], None]


@gc_paused()  # until all that the mode needs is imported (`process.started`)
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    process.prepare()
    try:
        args = parsing.parse(argv)
    except SystemExit as end:  # --help, --version or a usage error
        return _flushed(sys.stdout, end.code if isinstance(end.code, int) else 0)
    except OSError as error:  # unbuffered help that cannot be written
        return _unwritten(sys.stdout, error)
    if args.exit_with_parent != -1:
        process.exit_with_parent(args.exit_with_parent)
    human = sys.stderr if args.events == "-" else sys.stdout
    try:
        return _flushed(human, _run_with_events(args, human))
    except KeyboardInterrupt:  # outside of any mode
        return process.EXIT_INTERRUPTED
    except process.Terminated:
        return process.EXIT_TERMINATED


def _flushed(stream: TextIO, code: int) -> int:
    """The exit code once all is written, or that of what could not be."""
    try:
        stream.flush()
    except OSError as error:
        return _unwritten(stream, error, code)
    return code


def _unwritten(stream: TextIO, error: OSError, code: int = 0) -> int:
    """The exit code of output that cannot be written."""
    if isinstance(error, BrokenPipeError):
        process.leave_quietly(sys.stdout, sys.stderr)
        return process.EXIT_BROKEN_PIPE
    process.leave_quietly(stream)
    return code or _fail(_cannot_write(stream, error))


def _run_with_events(args: parsing.Args, human: TextIO) -> int:
    """Run the mode and tell the events' reader how it ended."""
    try:
        events = EventWriter.open(args.events)
    except EngineError as error:
        return _fail(error)
    code = 1
    if not isinstance(args, PlanArgs) and args.inject.kernel:
        os.environ["DLLAMA_KERNELS"] = args.inject.kernel  # before any kernel is looked for
    try:
        code = _run_mode(args, events, _printer(human))
    except BrokenPipeError:
        process.leave_quietly(sys.stdout, sys.stderr)
        code = process.EXIT_BROKEN_PIPE
    finally:
        with suppress(BrokenPipeError, OutputError):
            events.emit(End(code))
            events.close()
    return code


def _run_mode(args: parsing.Args, events: EventWriter, show: Show) -> int:
    try:
        match args:
            case WorkerArgs():
                _worker(args, events, show)
            case PlanArgs():
                _plan(args, show)
            case RootArgs():
                _root(args, events, show)
    except EngineError as error:
        _emit_error(events, error)
        return _fail(error)
    except KeyboardInterrupt as error:
        process.ignore_further_signals()
        _emit_error(events, error, "interrupted")
        return process.EXIT_INTERRUPTED
    except process.Terminated as error:
        process.ignore_further_signals()
        if isinstance(args, WorkerArgs):
            return 0
        _emit_error(events, error, "terminated")
        return process.EXIT_TERMINATED
    except BrokenPipeError:
        raise
    except Exception as error:  # a bug: the events' reader hears of it too
        _emit_error(events, error)
        raise
    return 0


def _root(args: RootArgs, events: EventWriter, show: Show) -> None:
    """Run the mode, `--requests` times; each time is whole in the events, from start to network."""
    mode = _mode(args.mode)
    process.started()
    for n in range(args.requests):
        if n:
            gc.collect()  # operations refer back to their transformer, and so to its weights
        args = _run_root(mode, args, events, show)


def _run_root(mode: Mode, args: RootArgs, events: EventWriter, show: Show) -> RootArgs:
    """Run the mode; what asks for the same program again, where a probe decided on something."""
    from dllama_engine.cli.run import RootRun

    human = sys.stderr if args.events == "-" else sys.stdout
    run = RootRun.open(args, events, show, is_terminal=human.isatty())
    try:
        mode(run)
    except BaseException as error:
        run.abandon(error)
        raise
    finally:
        run.close()
    return run.same_again()


def _mode(name: str) -> Mode:
    """What runs it, and with it all that a root imports."""
    if name == "chat":
        from dllama_engine.cli.chat import chat

        return chat
    from dllama_engine.cli import modes

    return {"inference": modes.inference, "perplexity": modes.perplexity}[name]


def _worker(args: WorkerArgs, events: EventWriter, show: Show) -> None:
    from dllama_engine.cluster.worker import Worker
    from dllama_engine.cluster.worker_session import WorkerOptions
    from dllama_engine.wire.connecting.token import cluster_token

    def log(line: str) -> None:
        with suppress(BrokenPipeError, OutputError):  # a worker outlives whoever read its log
            show(line + "\n")

    worker_options = WorkerOptions(
        args.host, args.port, args.n_threads, cluster_token(args.token_file), args.idle_timeout_s,
        args.inject, args.weight_cache, args.memory_rate,
    )  # fmt: skip
    Worker(worker_options, events, log).serve()


def _plan(args: PlanArgs, show: Show) -> None:
    from dllama_engine.cli.plan import show_plan

    show_plan(args, lambda line: show(line + "\n"))


def _printer(stream: TextIO) -> Show:
    def show(text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            process.leave_quietly(stream)
            raise _cannot_write(stream, error) from None

    return show


def _emit_error(events: EventWriter, error: BaseException, message: str | None = None) -> None:
    rank = error.rank if isinstance(error, WireError) else None
    with suppress(BrokenPipeError, OutputError):
        events.emit(Error(type(error).__name__, message or str(error), rank))


def _cannot_write(stream: TextIO, error: OSError) -> OutputError:
    name = "error" if stream is sys.stderr else "output"
    return OutputError(f"standard {name} cannot be written ({error.strerror or error})")


def _fail(error: EngineError) -> int:
    try:
        print(f"🚨 Critical error: {error}", file=sys.stderr, flush=True)
    except OSError:  # nowhere to tell it
        process.leave_quietly(sys.stderr)
    return 1
