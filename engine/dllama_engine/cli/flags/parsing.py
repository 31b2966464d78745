"""A command line -> the typed arguments of its mode; files are not touched."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

from dllama_engine.cli.flags.arguments import PlanArgs, ProcessArgs, RootArgs, WorkerArgs
from dllama_engine.cli.flags.declared import add_flags
from dllama_engine.cli.flags.dialects import pass_over
from dllama_engine.version import package_version

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Args = RootArgs | WorkerArgs | PlanArgs
T = TypeVar("T", bound=ProcessArgs)

ROOT_MODES = ("inference", "chat", "perplexity")
MODES = (*ROOT_MODES, "worker", "plan")

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
    for conflict in _conflicts(args):
        parser.error(conflict)  # ends the process at the first
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
        _, is_unknown, flags = message.partition("unrecognized arguments: ")
        near = difflib.get_close_matches(flags.split()[0], known, 1) if is_unknown else []
        hint = f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message}{hint} (dllama-py --help lists all flags)\n")


def _filled(kind: type[T], args: argparse.Namespace) -> T:
    """The flags that concern a mode; every field is a flag's `dest`."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})


def _conflicts(args: argparse.Namespace) -> Iterator[str]:
    """Why flags do not go together, or what is missing; nothing where all is well."""
    mode, is_root = args.mode, args.mode in ROOT_MODES
    if args.gpu_index is not None or args.gpu_segments is not None:
        yield "--gpu-index, --gpu-segments: this engine runs on CPUs only"
    if mode == "inference" and args.steps is None:
        yield "inference needs --steps, the number of tokens with the prompt's"
    if mode in ("inference", "perplexity") and args.prompt is None and args.file is None:
        yield f"{mode} needs --prompt or --file"
    if args.prompt is not None and args.file is not None:
        yield "give --prompt or --file, not both"
    if is_root and mode != "inference":
        yield from _inferences_own(args)
    if args.requests > 1 and args.trace is not None:
        yield f"--requests {args.requests} is inference's, and --trace holds one request"
    if args.trace == "-" and args.events is None:
        yield "--trace - goes into the event stream: give --events too"
    if is_root and args.model is None:
        yield f"{mode} needs --model"
    if is_root:
        yield from _recovery_conflicts(args)
    addresses = [f"{host}:{port}" for host, port in args.workers]
    for address in dict.fromkeys(addresses):
        if addresses.count(address) > 1:
            yield f"--workers names {address} twice; every node is a process of its own"
    if mode == "plan" and (args.model is None) == (args.shape is None):
        yield "plan needs either --model or --shape"


def _inferences_own(args: argparse.Namespace) -> Iterator[str]:
    """Flags that chat and perplexity cannot follow."""
    if args.context_depth:
        yield f"--context-depth is inference's; {args.mode} starts with an empty context"
    if args.decode_from is not None:
        yield f"--decode-from is inference's; {args.mode} reads its text as it is"
    if args.requests > 1 and args.trace is None:
        yield f"--requests {args.requests} is inference's, and {args.mode} has one run"


def _recovery_conflicts(args: argparse.Namespace) -> Iterator[str]:
    """What is done about lost workers needs some, and may not change the tokens."""
    values = {"--retry-lost": args.retry_lost, "--shrink": args.shrink}
    asked = [flag for flag, value in values.items() if value]
    if asked and not args.workers:
        yield f"{asked[0]} is about lost workers; name them with --workers"
    if args.shrink and args.sync_mode != "invariant":
        yield (
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
    add_flags(parser)
    return parser


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
