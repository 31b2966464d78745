"""What a run is compared with: one parser for every `--baseline SPEC`.

self                    the same engine again: A/A, which shows the noise
git:REV                 the embedded engine at another revision of the checkout in use
git:PATH@REV            ... of another checkout
dllama:PATH             another binary of the real dllama
option:NAME=VALUE[,..]  the same engine with other options
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_dllama.config.values import BUFFER_FLOAT_TYPES, SYNC_MODES, ConfigError

Kind = Literal["self", "git", "dllama", "option"]
KINDS: tuple[Kind, ...] = ("self", "git", "dllama", "option")
# What `option:` may change, and the values that it takes; None: a whole number of at least 1.
OPTIONS: Mapping[str, tuple[str, ...] | None] = {
    "nthreads": None,
    "buffer-float-type": BUFFER_FLOAT_TYPES,
    "sync-mode": SYNC_MODES,
}


@dataclass(frozen=True, slots=True)
class Baseline:
    """A parsed SPEC."""

    kind: Kind
    text: str  # as written
    path: str = ""  # of a checkout or a binary
    revision: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def parse_baseline(text: str) -> Baseline:
    """Read a SPEC.

    >>> parse_baseline("git:../other@v1.2").revision
    'v1.2'
    >>> dict(parse_baseline("option:nthreads=2").options)
    {'nthreads': '2'}

    Raises:
        ConfigError: no such kind, with the nearest right spelling, or a part that is missing.
    """
    kind, _, rest = text.strip().partition(":")
    if kind == "self" and not rest:
        return Baseline("self", "self")
    if kind == "git" and rest:
        path, at, revision = rest.rpartition("@")
        if at and not revision:
            raise ConfigError(f"--baseline {text}: a revision is missing behind @")
        return Baseline("git", text, path if at else "", revision if at else rest)
    if kind == "dllama" and rest:
        return Baseline("dllama", text, rest)
    if kind == "option" and rest:
        return Baseline("option", text, options=_options(text, rest))
    near = difflib.get_close_matches(kind, KINDS, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near and near[0] != kind else ""
    raise ConfigError(
        f"--baseline {text!r}: {hint}write self, git:REV, git:PATH@REV, dllama:PATH or "
        "option:NAME=VALUE[,NAME=VALUE]"
    )


def _options(text: str, rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in rest.split(","):
        name, is_given, value = (word.strip() for word in part.partition("="))
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(OPTIONS)}"
            raise ConfigError(f"--baseline {text}: no engine option {name!r}; {hint}")
        choices = OPTIONS[name]
        fits = value in choices if choices else value.isdecimal() and int(value) > 0
        if not is_given or not fits:
            wanted = " or ".join(choices) if choices else "a whole number of at least 1"
            raise ConfigError(f"--baseline {text}: {name}={value or '?'}: write {wanted}")
        found[name] = value
    return found
