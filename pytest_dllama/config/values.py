"""What an option's text may say: parsers, whose `ConfigError` says what, value, limit, remedy."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BUFFER_FLOAT_TYPES = ("q80", "f32")
SYNC_MODES = ("reduce", "invariant")
KV_TYPES = ("f32", "f16")
SHIPPED_MODEL = "tiny"
SYNTHETIC_PREFIX = "synthetic:"
DEFAULT_PROMPT = "One morning, Mina"
MAX_ARGUMENT_BYTES = 128 * 1024 - 1  # on Linux (MAX_ARG_STRLEN), its end's zero left out
LARGEST = 2**31 - 1  # of whole numbers: more is a slip of the pen, and no engine's int holds it
LARGEST_SEED = 2**64 - 1
_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")
_MOST_DIGITS = 24
_FILE_PREFIX = "dllama_model_"  # as dllama's converters name their files
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # a file's name may hold line ends


class ConfigError(ValueError):
    """A value that an option cannot take; the message says what, the limit and the remedy."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One entry of `--models`: a shipped name, files of one's own, or a synthetic shape."""

    text: str  # as the user wrote it
    kind: str  # "shipped", "files" or "synthetic"
    model: str  # shipped name, path of the .m file, or shape
    tokenizer: str = ""  # path of the .t file
    base: Path = Path()  # folder that relative paths start from

    @property
    def name(self) -> str:
        """The model's short name, in test ids, tables and the thresholds file."""
        if self.kind == "files":
            return _CONTROL.sub("_", Path(self.model).stem.removeprefix(_FILE_PREFIX))
        return self.model


def parse_node_counts(text: str) -> tuple[int, ...]:
    """`2,4,8`: node counts, the root among them."""
    counts = tuple(whole(part, text, "--nodes") for part in text.split(","))
    for count in counts:
        if count < 1:
            raise ConfigError(
                f"--nodes {text}: {count} is no cluster; a count includes the root, so 1 is the "
                "smallest (for example --nodes 1,2,4)"
            )
        if count > LARGEST:
            raise ConfigError(f"--nodes {text}: {count} is too large; the largest is {LARGEST}")
        if counts.count(count) > 1:
            raise ConfigError(f"--nodes {text}: {count} stands twice; name each count once")
    return counts


def parse_models(text: str, base: Path = Path()) -> tuple[ModelSpec, ...]:
    """`tiny,PATH.m:PATH.t,synthetic:SHAPE`; commas inside `synthetic:dim=..,..` stay with it."""
    specs: list[ModelSpec] = []
    for part in text.split(","):
        inside_shape = "=" in part and ":" not in part
        if inside_shape and specs and specs[-1].kind == "synthetic":
            joined = f"{specs.pop().text},{part}"
            specs.append(_model_spec(joined, base))
        else:
            specs.append(_model_spec(part.strip(), base))
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"--models: two models are called {name!r}; rename one file or name it once"
            )
    return tuple(specs)


def _model_spec(text: str, base: Path) -> ModelSpec:
    if text.startswith(SYNTHETIC_PREFIX):
        shape = text.removeprefix(SYNTHETIC_PREFIX)
        if not shape:
            raise ConfigError(f"--models {text}: the shape is missing; try synthetic:llama-160m")
        return ModelSpec(text, "synthetic", shape, base=base)
    if ":" in text:
        model, _, tokenizer = text.partition(":")
        if not model.endswith(".m") or not tokenizer.endswith(".t"):
            raise ConfigError(
                f"--models {text}: expected MODEL.m:TOKENIZER.t, two files of dllama's formats"
            )
        return ModelSpec(text, "files", model, tokenizer, base)
    if text.endswith(".m"):
        raise ConfigError(
            f"--models {text}: the tokenizer is missing; write {text}:{text.removesuffix('.m')}.t"
        )
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ConfigError(
            f"--models: {text!r} is no model; write {SHIPPED_MODEL}, MODEL.m:TOKENIZER.t or "
            "synthetic:SHAPE, separated by commas"
        )
    return ModelSpec(text, "shipped", text, base=base)


def whole(text: str, whole_text: str, option: str) -> int:
    """Digits as engines read them: neither `1_000` nor another script's.

    Args:
        text: of the number.
        whole_text: of the option, which the message shows.
        option: its flag.

    Raises:
        ConfigError: other signs, or more digits than any number needs.
    """
    if _WHOLE.fullmatch(text) is None:
        shown = whole_text if whole_text == text else f"{whole_text}: {text!r}"
        raise ConfigError(f"{option} {shown} is no whole number")
    if len(text.strip()) > _MOST_DIGITS:  # before Python refuses to read so many
        raise ConfigError(f"{option} {text.strip()[:24]}.. has too many digits")
    return int(text)


def digits(text: str) -> int | None:
    """The number that up to 20 digits are; None for any other text.

    >>> digits("12"), digits("-1"), digits("1_000"), digits("9" * 5000)
    (12, None, None, None)
    """
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else None


def at_least(option: str, smallest: int, largest: int = LARGEST) -> Callable[[str], int]:
    """A parser of whole numbers."""

    def parse(text: str) -> int:
        value = whole(text, text, option)
        if value < smallest:
            raise ConfigError(f"{option} {value} is too small; the smallest is {smallest}")
        if value > largest:
            raise ConfigError(f"{option} {value} is too large; the largest is {largest}")
        return value

    return parse


def two_at_least(option: str, smallest: int, example: str) -> Callable[[str], tuple[int, int]]:
    """A parser of two whole numbers with a comma between."""

    def parse(text: str) -> tuple[int, int]:
        parts = text.split(",")
        if len(parts) != 2:
            raise ConfigError(f"{option} {text!r}: write two whole numbers, as in {example}")
        first, second = (at_least(option, smallest)(part) for part in parts)
        return first, second

    return parse


def number(option: str, *, positive: bool) -> Callable[[str], float]:
    """A parser of finite numbers from 0 on."""

    def parse(text: str) -> float:
        limit = "greater than 0" if positive else "0 or greater"
        try:
            value = float(text)
        except ValueError:
            raise ConfigError(f"{option} {text!r} is no number; give one {limit}") from None
        if not math.isfinite(value) or value < 0 or (positive and value == 0):
            raise ConfigError(f"{option} {text} is out of range; give a number {limit}")
        return value

    return parse


def one_of(option: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ConfigError(f"{option} {text!r} is unknown; choose {' or '.join(choices)}")
        return text

    return parse


def some_of(option: str, choices: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """A parser of several words, each once, separated by commas; of `none` it makes no word."""

    def parse(text: str) -> tuple[str, ...]:
        if text.strip() == "none":
            return ()
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
        unknown = [word for word in words if word not in choices]
        if unknown or not words:
            found = ", ".join(unknown) or text
            known = ", ".join((*choices, "none"))
            raise ConfigError(f"{option} {found!r} is unknown; choose of {known}")
        return words

    return parse


def yes_or_no(option: str) -> Callable[[str], bool]:
    """A parser of switches, as an ini key has them."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}

    def parse(text: str) -> bool:
        if text.strip().lower() not in words:
            raise ConfigError(f"{option} {text!r} is no switch; write true or false")
        return words[text.strip().lower()]

    return parse


def words_of(option: str) -> Callable[[str], tuple[str, ...]]:
    """Words as a shell splits them."""

    def parse(text: str) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            raise ConfigError(f"{option} {text!r} cannot be split into words: {error}") from None

    return parse


def text_of(option: str) -> Callable[[str], str]:
    """A parser of text that must not be empty."""

    def parse(text: str) -> str:
        if not text.strip():
            raise ConfigError(f"{option} is empty; give at least one word")
        return text

    return parse


def prompt_text(text: str) -> str:
    r"""A prompt as its bytes say in UTF-8, whatever the locale made of them.

    A locale of ASCII hands every other byte over as a surrogate; what is no UTF-8 stays so, and is
    handed on byte by byte.

    >>> prompt_text("caf\udcc3\udca9"), prompt_text("caf\udce9") == "caf\udce9"
    ('café', True)
    """
    text = text_of("--prompt")(text)
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError(
            f"--prompt {text!r} holds half a character (a lone surrogate), which has no bytes; "
            "leave it out"
        ) from None
    if b"\0" in data:
        raise ConfigError(f"--prompt {text!r} holds a NUL, which no command line can; leave it out")
    if len(data) > MAX_ARGUMENT_BYTES:
        raise ConfigError(
            f"--prompt has {len(data)} bytes, and an argument of a command line holds "
            f"{MAX_ARGUMENT_BYTES}; use a shorter one, or --context-depth for a long context"
        )
    return data.decode("utf-8", "surrogateescape")
