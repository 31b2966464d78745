"""Options of the embedded engine that the suites pass on, checked before anything starts."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from dllama_engine.cli.flags.parsing import root_flags
from dllama_engine.errors import EngineError
from dllama_engine.injection import Injection, parse_injection
from dllama_engine.kernels.cpu import VARIANTS, available_variants
from pytest_dllama.amounts import counted
from pytest_dllama.config.values import ConfigError

# What the lab sets itself, and what only the two other modes read.
_GIVEN = frozenset(
    (
        *("model", "tokenizer", "prompt", "file", "workers", "timeout", "context-depth"),
        *("token-file", "events", "exit-with-parent", "host", "port", "idle-timeout"),
        *("nodes", "shape", "json", "chat-template", "inject", "trace"),
        *("memory-rate", "requests", "decode-from"),
    )
)


def why_not_swept(name: str, value: str) -> str | None:
    """Why the root of this engine cannot be given an option; None where it can."""
    flags = root_flags()
    if name not in flags or name in _GIVEN:
        near = difflib.get_close_matches(name, sorted(set(flags) - _GIVEN), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"the embedded engine has no option --{name} that can be swept{meant}"
    return flags[name](value)


def injection(text: str) -> Injection:
    """Read `--inject SPEC`.

    Raises:
        ConfigError: none that the engine knows.
    """
    try:
        return parse_injection(text)
    except EngineError as error:
        raise ConfigError(str(error)) from None


def check_injection(text: str, nodes: int, *, on_boards: bool, runs_here: bool) -> None:
    """Refuse what would slow down nothing, or make every cell an ERROR or INVALID.

    Args:
        text: of `--inject`.
        nodes: of the largest cell.
        on_boards: whether the nodes emulate boards.
        runs_here: whether they are processes of this machine.

    Raises:
        ConfigError: a rank that no cell has, kernels that are not there, or slower work on boards.
    """
    found = injection(text)
    for work in found.slow:
        if work.rank is not None and work.rank >= nodes:
            raise ConfigError(
                f"--inject {text!r}: no cell has a rank {work.rank}: the largest has "
                f"{counted(nodes, 'node')}, rank 0 is the root"
            )
    there = available_variants() if runs_here else list(VARIANTS)
    if found.kernel and found.kernel not in there:
        whose = "this CPU can run" if runs_here else "there are"
        raise ConfigError(
            f"--inject {text!r}: no kernels {found.kernel!r}; {whose} {_listed(there)}"
        )
    if on_boards and (found.slow or found.kernel):
        raise ConfigError(
            f"--inject {text!r} and --emulate exclude each other: a board computes as slowly as "
            "its memory reads, so that slower work is lost in that or makes the node no such "
            "board; write tpot=, ttft= or sampling=, or --link and --nodes in place of --emulate"
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
