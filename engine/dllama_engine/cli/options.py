"""dllama's command line, as typed options; values are checked here, files are not touched."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

from dllama_engine.cli.arguments import Address, PlanArgs, ProcessArgs, RootArgs, WorkerArgs
from dllama_engine.cli.dialects import pass_over
from dllama_engine.errors import RequestError
from dllama_engine.injection import NOTHING, Injection, parse_injection
from dllama_engine.loading.settings import CACHE_VARIABLE, CacheSettings, parse_cache
from dllama_engine.memory_rate import UNLIMITED, parse_memory_rate
from dllama_engine.sharding.collective import Collective
from dllama_engine.version import package_version

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Args = RootArgs | WorkerArgs | PlanArgs
T = TypeVar("T", bound=ProcessArgs)

MODES = ("inference", "chat", "perplexity", "worker", "plan")
DEFAULT_PORT = 9999

_DESCRIPTION = """\
Runs a quantized model on one or more nodes, with dllama's files and flags.

modes:
  inference   continue --prompt up to --steps tokens
  chat        talk with the model
  perplexity  score a text
  worker      serve as a node; a root names it in --workers
  plan        print who would hold and send what, without loading the model
"""


def parse(argv: Sequence[str] | None = None) -> Args:
    """Parse a command line; a usage error ends the process with status 2."""
    parser = build_parser()
    words, remarks = pass_over(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    for remark in remarks:
        print(f"⚠️  {remark}", file=sys.stderr)
    _check(parser, args)
    args.workers = tuple(args.workers)
    match args.mode:
        case "worker":
            return _filled(WorkerArgs, args)
        case "plan":
            return _filled(PlanArgs, args)
    return _filled(RootArgs, args)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong and where help is, in place of seventy lines of usage."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Help that cannot be written is an error, where argparse passes over it."""
        stream = file or sys.stderr
        try:
            stream.write(message)
        except OSError:
            if stream is not sys.stderr:  # there the exit status must do
                raise

    def error(self, message: str) -> NoReturn:
        known = [flag for action in self._actions for flag in action.option_strings]
        unknown = message.removeprefix("unrecognized arguments: ").split()
        near = difflib.get_close_matches(unknown[0], known, 1) if unknown[0] != message else []
        hint = f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message}{hint} (dllama-py --help lists all flags)\n")


def _filled(kind: type[T], args: argparse.Namespace) -> T:
    """The flags that concern a mode; every field is a flag's `dest`."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the process where flags do not go together."""
    if args.gpu_index is not None or args.gpu_segments is not None:
        parser.error("--gpu-index, --gpu-segments: this engine runs on CPUs only")
    if args.steps is None and args.mode == "inference":
        parser.error("inference needs --steps, the number of tokens with the prompt's")
    if args.prompt is None and args.file is None and args.mode in ("inference", "perplexity"):
        parser.error(f"{args.mode} needs --prompt or --file")
    if args.prompt is not None and args.file is not None:
        parser.error("give --prompt or --file, not both")
    if args.context_depth and args.mode in ("chat", "perplexity"):
        parser.error(f"--context-depth is inference's; {args.mode} starts with an empty context")
    if args.requests > 1 and (args.mode in ("chat", "perplexity") or args.trace is not None):
        what = "--trace holds one request" if args.trace is not None else f"{args.mode} has one run"
        parser.error(f"--requests {args.requests} is inference's, and {what}")
    if args.trace == "-" and args.events is None:
        parser.error("--trace - goes into the event stream: give --events too")
    if args.model is None and args.mode in ("inference", "chat", "perplexity"):
        parser.error(f"{args.mode} needs --model")
    if args.mode in ("inference", "chat", "perplexity"):
        _check_recovery(parser, args)
    twice = [f"{host}:{port}" for host, port in args.workers]
    for address in set(twice):
        if twice.count(address) > 1:
            parser.error(f"--workers names {address} twice; every node is a process of its own")
    if args.mode == "plan" and (args.model is None) == (args.shape is None):
        parser.error("plan needs either --model or --shape")


def _check_recovery(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What is done about lost workers needs some, and may not change the tokens."""
    asked = [
        flag for flag, value in (("--retry-lost", args.retry_lost), ("--shrink", args.shrink))
        if value
    ]  # fmt: skip
    if asked and not args.workers:
        parser.error(f"{asked[0]} is about lost workers; name them with --workers")
    if args.shrink and args.sync_mode != "invariant":
        parser.error(
            f"--shrink needs --sync-mode invariant: with {args.sync_mode} sums, and so tokens, "
            "depend on the node count"
        )


def build_parser() -> argparse.ArgumentParser:
    """All flags of all modes; as in dllama, a mode passes over those that do not concern it."""
    parser = _Parser(
        prog="dllama-py",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("mode", choices=MODES, metavar="MODE", help=" | ".join(MODES))
    parser.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    _add_model(parser.add_argument_group("model and request"))
    _add_cluster(parser.add_argument_group("cluster"))
    _add_worker(parser.add_argument_group("worker mode"))
    _add_plan(parser.add_argument_group("plan mode"))
    _add_process(parser.add_argument_group("process"))
    return parser


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", metavar="FILE.m", help="model file; `tiny` is the shipped one")
    group.add_argument(
        "--tokenizer", metavar="FILE.t", help="its tokenizer (default: FILE.t beside FILE.m)"
    )
    group.add_argument("--prompt", metavar="TEXT", help="text to continue or to score")
    group.add_argument("--file", metavar="FILE", help="read the prompt from a file")
    group.add_argument(
        "--steps", type=whole(1), metavar="N", help="tokens in all, the prompt's included"
    )
    group.add_argument(
        "--temperature", type=_temperature, default=0.8, metavar="T",
        help="0 takes the likeliest token (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--topp", type=_share, default=0.9, metavar="P",
        help="sample from the likeliest tokens of this mass (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=whole(0), metavar="N", help="of the sampler (default: from the clock)"
    )
    group.add_argument(
        "--chat-template", metavar="NAME",
        help="llama2, llama3, deepSeek3 or chatml (default: the file's)",
    )  # fmt: skip
    group.add_argument(
        "--max-seq-len", type=whole(0), default=0, metavar="N",
        help="shorten the context, and so the KV cache (default: 0, the model's)",
    )  # fmt: skip
    group.add_argument(
        "--context-depth", type=whole(0), default=0, metavar="N",
        help="fill so many positions of the context before the request's clock starts; --steps "
        "count from there (default: %(default)s)",
    )  # fmt: skip

    group.add_argument(
        "--requests", type=whole(1), default=1, metavar="N",
        help="run the request so often, each time in a session of its own that is loaded anew, for "
        "who measures (default: %(default)s)",
    )  # fmt: skip


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workers", type=_address, nargs="+", default=(), metavar="HOST:PORT",
        help="worker nodes; the root is a node too (default: none)",
    )  # fmt: skip
    group.add_argument(
        "--buffer-float-type", choices=("q80", "f32"), default="q80",
        help="type of what nodes exchange (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--sync-mode", choices=("reduce", "invariant"), default="reduce",
        help="reduce: dllama's partial sums; invariant: the same bits on any node count "
        "(default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--kv-type", choices=("f32", "f16"), default="f32",
        help="type of the KV cache (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--nbatches", dest="batch_size", type=whole(1, 65535), default=32, metavar="N",
        help="prompt tokens run at a time (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--nthreads", dest="n_threads", type=whole(1, 1024), default=1, metavar="N",
        help="threads of this node (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--timeout", dest="timeout_s", type=seconds, default=60.0, metavar="S",
        help="give up when no node makes progress for so long (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--connect-timeout", dest="connect_timeout_s", type=seconds, default=5.0, metavar="S",
        help="how long a worker that does not answer yet is tried (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--retry-lost", type=whole(0), default=0, metavar="N",
        help="so often a lost worker's return is waited for, up to --timeout, and all that was "
        "run is run again on a fresh session (default: %(default)s, give up at once)",
    )  # fmt: skip
    group.add_argument(
        "--shrink", action="store_true",
        help="when a lost worker does not return, go on with those that are left; needs "
        "--sync-mode invariant, which gives the same tokens on any node count",
    )  # fmt: skip
    group.add_argument(
        "--token-file", metavar="FILE",
        help="the cluster's secret (default: $DLLAMA_PY_TOKEN, else a file of this user)",
    )  # fmt: skip
    group.add_argument(
        "--local-weights", choices=("map", "send"), default="map",
        help="weights of workers on the root's machine: they map the root's file where they can "
        "open it, or it sends them as to any other (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--collective", choices=tuple(Collective), default=str(Collective.MESH),
        help="how nodes exchange: mesh, two-shot, star, ring, doubling, or auto, which probes the "
        "links (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--pp-size", type=_only_one, default=1, metavar="1",
        help="pipeline stages; only 1 is there (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--net-turbo", choices=("0", "1"), default="1",
        help="accepted and passed over: sockets never block here (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--gpu-index", metavar="N", help="refused: this engine runs on CPUs only")
    group.add_argument("--gpu-segments", metavar="A:B", help=argparse.SUPPRESS)


def _add_worker(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--host", default="127.0.0.1",
        help="address to listen on; 0.0.0.0 for all (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--port", type=whole(0, 65535), default=DEFAULT_PORT, metavar="N",
        help="port to listen on; 0 takes a free one and prints it (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--idle-timeout", dest="idle_timeout_s", type=seconds, metavar="S",
        help="exit when no root came for so long (default: never)",
    )  # fmt: skip
    group.add_argument(
        "--weight-cache", type=_cache, default=os.environ.get(CACHE_VARIABLE) or "on",
        metavar="on|off|SIZE|DIR[,SIZE]",
        help="keep this worker's weights on its disk, so that the next start is sent digests only: "
        "in this user's cache or in DIR, 8GiB at most unless SIZE says otherwise, then what was "
        f"not used for longest goes (default: ${CACHE_VARIABLE}, else on)",
    )  # fmt: skip


def _add_plan(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--nodes", type=whole(1, 65535), default=1, metavar="N",
        help="node count, the root included (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--shape", metavar="NAME", help="a named shape in place of a model file")
    group.add_argument("--json", action="store_true", help="print JSON in place of tables")


def _add_process(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--events", metavar="FILE|-",
        help="write events as JSON lines; with - they own stdout and the text goes to stderr",
    )  # fmt: skip
    group.add_argument(
        "--spans", choices=("on", "off"), default="on",
        help="whether all nodes count where their time goes (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--trace", metavar="FILE|-",
        help="write the last spans of all nodes on one time line, for ui.perfetto.dev "
        "(docs/network.md); - puts the file into --events",
    )  # fmt: skip
    group.add_argument(
        "--inject", type=_injection, default=NOTHING, metavar="SPEC",
        help="for testing suites: slow this process down on purpose, as in tpot=10%%,ttft=20ms "
        "(docs/testing.md; default: do not)",
    )  # fmt: skip
    group.add_argument(
        "--memory-rate", type=_memory_rate, default=UNLIMITED, metavar="RATE",
        help="emulate a board whose memory reads so fast, as in 8.5GB/s: between two exchanges "
        "this process takes as long as that board (docs/network.md; default: do not)",
    )  # fmt: skip
    group.add_argument(
        "--exit-with-parent", type=_parent, nargs="?", const=0, default=-1, metavar="PID|stdin",
        help="end when the parent process, PID or standard input ends, so that no orphan stays",
    )  # fmt: skip


def root_flags() -> dict[str, Callable[[str], str | None]]:
    """Every flag with one value, by its name: what tells why a value cannot be, None if it can."""
    return {
        option.removeprefix("--"): partial(_why_not, action)
        for action in build_parser()._actions
        for option in action.option_strings
        if option.startswith("--") and action.nargs is None
    }


def _why_not(action: argparse.Action, text: str) -> str | None:
    try:
        value = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        return str(error)
    if action.choices is not None and value not in action.choices:
        return f"{text!r}: choose {' or '.join(map(str, action.choices))}"
    return None


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers within limits."""

    def parse_whole(text: str) -> int:
        limits = f"{least} to {most}" if most is not None else f"{least} or more"
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {limits}")
        return value

    return parse_whole


def seconds(text: str) -> float:
    """A positive number of seconds."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of seconds above 0")
    return value


def _temperature(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, 0 or more")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # fails every comparison of the callers


def _parent(text: str) -> int | None:
    """A process id, or None for standard input."""
    return None if text == "stdin" else whole(1)(text)


def _cache(text: str) -> CacheSettings:
    try:
        return parse_cache(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _injection(text: str) -> Injection:
    try:
        return parse_injection(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _memory_rate(text: str) -> float:
    try:
        return parse_memory_rate(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _only_one(text: str) -> int:
    if text != "1":
        raise argparse.ArgumentTypeError(f"{text!r}: this engine has one pipeline stage, 1")
    return 1


def _address(text: str) -> Address:
    """`host:port`; IPv6 hosts may stand in brackets."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, as in 10.0.0.2:9999")
    return host, int(port)
