"""What a run is compared with: one parser for every `--baseline SPEC`.

self                    the same engine again: A/A, which shows the noise
git:REV                 the embedded engine at another revision of the checkout in use
git:PATH@REV            ... of another checkout
dllama:PATH             another binary of the real dllama
dllama:CHECKOUT@REV     ... built of a revision of a checkout of its source
option:NAME=VALUE[,..]  the same engine with other options
run:FILE                a stored run file, which cannot be measured again
accepted                the run that was accepted last on this cluster
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pytest_dllama.config.exchange import collective, overlap
from pytest_dllama.config.values import BUFFER_FLOAT_TYPES, SYNC_MODES, ConfigError, digits

Kind = Literal["self", "git", "dllama", "option", "run", "accepted"]
KINDS: tuple[Kind, ...] = ("self", "git", "dllama", "option", "run", "accepted")
AUTO = "auto"
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?%")
MOST_REQUESTS = 99  # of a session: more is another workload
_MOST_SHOWN = 40  # of a value that cannot be, in a message
FEWEST_CALIBRATING = 3  # pairs: fewer make no group of variances
CALIBRATION_PAIRS = 20  # six groups a cell: with four cells a prior
STORED: tuple[Kind, ...] = ("run", "accepted")  # nothing to run again: unpaired, and weaker
FORMS = (
    "self, git:REV, git:PATH@REV, dllama:PATH, dllama:CHECKOUT@REV, "
    "option:NAME=VALUE[,NAME=VALUE], run:FILE or accepted"
)
# What `option:` may change, and the values that it takes, or what reads them; None: a whole number
# of at least 1.
OPTIONS: Mapping[str, tuple[str, ...] | Callable[[str], str] | None] = {
    "nthreads": None,
    "buffer-float-type": BUFFER_FLOAT_TYPES,
    "sync-mode": SYNC_MODES,
    "collective": collective,
    "overlap": overlap,
}


@dataclass(frozen=True, slots=True)
class Baseline:
    """A parsed SPEC."""

    kind: Kind
    text: str  # as written
    path: str = ""  # of a checkout, a binary or a run file
    revision: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_stored(self) -> bool:
        """Whether it is figures of another time, with which nothing pairs up."""
        return self.kind in STORED


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the options say about A against B."""

    baseline: Baseline
    looks: tuple[int, ...]  # after how many pairs
    inconclusive: str  # "warn" or "fail"
    order_seed: int | None  # of the order of sides and cells; None: drawn
    is_bisect: bool  # exit codes for `git bisect run`
    is_calibration: bool = False  # A/A pairs that are kept as what is known of the noise
    requests: int | None = 1  # of a session; None: as many as decide soonest
    tolerated: float | None = None  # relative change of every metric; None: as the thresholds say


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
    if kind == "accepted" and not rest:
        return Baseline("accepted", "accepted")
    if kind == "run" and rest:
        return Baseline("run", text, rest)
    if kind in ("git", "dllama") and rest:
        path, at, revision = _parted(rest)
        if at and not revision:
            raise ConfigError(f"--baseline {text}: a revision is missing behind @")
        if kind == "git" and not at:
            return Baseline("git", text, revision=rest)
        return Baseline(kind, text, path, revision)  # type: ignore[arg-type]
    if kind == "option" and rest:
        return Baseline("option", text, options=_options(text, rest))
    near = difflib.get_close_matches(kind.lower(), KINDS, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near and near[0] != kind else ""
    raise ConfigError(f"--baseline {text!r}: {hint}write {FORMS}")


def _parted(rest: str) -> tuple[str, str, str]:
    """Before the last @, the @, and behind it; an @ of git's own (`@~1`, `main@{u}`) parts nothing.

    >>> _parted("a@b@v1"), _parted("main@{1}"), _parted("../x@main@{u}"), _parted("@~1")
    (('a@b', '@', 'v1'), ('main@{1}', '', ''), ('../x', '@', 'main@{u}'), ('@~1', '', ''))
    """
    at = rest.rfind("@")
    while rest.startswith("@{", at) and at >= 0:
        at = rest.rfind("@", 0, at)
    return (rest[:at], "@", rest[at + 1 :]) if at > 0 else (rest, "", "")


def parse_calibration(text: str) -> int:
    """How many A/A pairs a cell is calibrated with; 0: it is not.

    Raises:
        ConfigError: no whole number, or too few to tell a scatter.
    """
    pairs = digits(text)
    if pairs is None or 0 < pairs < FEWEST_CALIBRATING:
        raise ConfigError(
            f"--calibrate {_short(text)}: write a number of pairs, {FEWEST_CALIBRATING} or more; "
            f"left out at the end it is {CALIBRATION_PAIRS}"
        )
    return pairs


def parse_looks(text: str) -> tuple[int, ...]:
    """`3,5,7,10`: after how many pairs to look.

    Raises:
        ConfigError: not whole numbers from 2 on that rise.
    """
    read = [digits(part.strip()) for part in text.split(",")]
    looks = tuple(look for look in read if look is not None)
    if len(looks) < len(read):
        raise ConfigError(f"--pairs {_short(text)}: write numbers of pairs, as in 3,5,7,10")
    if looks[0] < 2 or any(a >= b for a, b in pairwise(looks)):
        raise ConfigError(
            f"--pairs {text}: the first look needs 2 pairs or more, each further look more than "
            "the one before, as in 3,5,7,10"
        )
    return looks


def parse_requests(text: str) -> int | None:
    """How many requests a session of a pair has; None: it is to be found out.

    Raises:
        ConfigError: neither `auto` nor a whole number from 1 to 99.
    """
    if text.strip() == AUTO:
        return None
    requests = digits(text.strip())
    if requests is None or not 0 < requests <= MOST_REQUESTS:
        raise ConfigError(
            f"--requests-per-session {_short(text)}: write auto, or a number from 1 to "
            f"{MOST_REQUESTS}"
        )
    return requests


def parse_tolerated(text: str) -> float | None:
    """How much worse every metric may be, as a share; empty: as the thresholds file says.

    >>> parse_tolerated("40%"), parse_tolerated("")
    (0.4, None)

    Raises:
        ConfigError: no percentage above 0.
    """
    if not text.strip():
        return None
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise ConfigError(f"--tolerate {text!r}: write a percentage above 0, as in 40%")
    return float(found[1]) / 100


def parse_order_seed(text: str) -> int | None:
    """A whole number from 0 on; empty: to be drawn.

    Raises:
        ConfigError: anything else.
    """
    if not text.strip():
        return None
    seed = digits(text.strip())
    if seed is None:
        raise ConfigError(f"--order-seed {_short(text)} is no whole number from 0 on")
    return seed


def _short(text: str) -> str:
    """What was given, as a message shows it."""
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..")


def comparison_of(values: Mapping[str, Any], base: Path) -> Comparison | None:
    """What the parsed options ask for; None without `--baseline`.

    Args:
        values: the options of a comparison, by name.
        base: the folder from which relative paths in the SPEC start.

    Raises:
        ConfigError: `--bisect` without a baseline, or `--calibrate` with another one than self.
    """
    text = values["baseline"].strip()
    if pairs := values.get("calibrate"):
        others = {
            f"--baseline {text}": text not in ("", "self"),
            "--bisect": values["bisect"],
            f"--inject {values.get('inject')}": bool(values.get("inject")),
        }
        if wrong := [option for option, is_given in others.items() if is_given]:
            raise ConfigError(
                f"--calibrate {pairs} compares the engine with itself: leave out {wrong[0]}"
            )
        found, order_seed = parse_baseline("self"), values["order-seed"]
        requests = values["requests-per-session"]
        return Comparison(
            found, (pairs,), values["inconclusive"], order_seed, False, True, requests
        )
    if not text:
        if values["bisect"]:
            raise ConfigError("--bisect needs --baseline SPEC, the revision that was good")
        return None
    found = parse_baseline(text)
    is_bare_program = found.kind == "dllama" and "/" not in found.path  # for PATH to find
    if found.path and not (is_bare_program and not found.revision):
        found = replace(found, path=str(base / Path(found.path).expanduser()))
    requests = values["requests-per-session"]
    if found.is_stored and requests is not None and requests > 1:
        raise ConfigError(
            f"--requests-per-session {requests} with --baseline {text}: nothing pairs up with a "
            "stored run; leave it out, --repeats says how often the new side is measured"
        )
    return Comparison(
        found,
        values["pairs"],
        values["inconclusive"],
        values["order-seed"],
        values["bisect"],
        requests=requests,
        tolerated=values.get("tolerate"),
    )


def _options(text: str, rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in _parts(rest):
        name, is_given, value = (word.strip() for word in part.partition("="))
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(OPTIONS)}"
            raise ConfigError(f"--baseline {text}: no engine option {name!r}; {hint}")
        if name in found:
            raise ConfigError(f"--baseline {text}: {name} stands twice; name each option once")
        found[name] = _value(text, name, value if is_given else "")
    return found


def _parts(rest: str) -> list[str]:
    """Entries between commas; in `collective=mesh,star@13` the second part has no name."""
    parts: list[str] = []
    for part in rest.split(","):
        if parts and "=" not in part and parts[-1].partition("=")[0].strip() == "collective":
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _value(text: str, name: str, value: str) -> str:
    """The value of an option, as the option itself takes it."""
    read = OPTIONS[name]
    if callable(read):
        try:
            return read(value)
        except ConfigError as error:
            raise ConfigError(f"--baseline {text}: {error}") from None
    if not (value in read if read else digits(value)):
        wanted = " or ".join(read) if read else "a whole number of at least 1"
        raise ConfigError(f"--baseline {text}: {name}={value or '?'}: write {wanted}")
    return value
