"""The options: one declaration gives flag, ini key, help and parser; one frozen object holds all.

`LabConfig.from_pytest(config)` reads flags first, then ini keys, then defaults. Nothing here
touches files or models; what needs them is checked at collection (`models`, `thresholds`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

BUFFER_FLOAT_TYPES = ("q80", "f32")
SYNC_MODES = ("reduce", "invariant")
SHIPPED_MODEL = "tiny"
SYNTHETIC_PREFIX = "synthetic:"
DEFAULT_PROMPT = "One morning, Mina"
_FILE_PREFIX = "dllama_model_"  # as dllama's converters name their files


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
            return Path(self.model).stem.removeprefix(_FILE_PREFIX)
        return self.model


def parse_node_counts(text: str) -> tuple[int, ...]:
    """`2,4,8`: node counts, the root among them."""
    counts = tuple(_whole(part, text, "--nodes") for part in text.split(","))
    for count in counts:
        if count < 1:
            raise ConfigError(
                f"--nodes {text}: {count} is no cluster; a count includes the root, so 1 is the "
                "smallest (for example --nodes 1,2,4)"
            )
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
    if not text or not text.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(
            f"--models: {text!r} is no model; write {SHIPPED_MODEL}, MODEL.m:TOKENIZER.t or "
            "synthetic:SHAPE, separated by commas"
        )
    return ModelSpec(text, "shipped", text, base=base)


def _whole(text: str, whole_text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        shown = whole_text if whole_text == text else f"{whole_text}: {text!r}"
        raise ConfigError(f"{option} {shown} is no whole number") from None


def _at_least(option: str, smallest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = _whole(text, text, option)
        if value < smallest:
            raise ConfigError(f"{option} {value} is too small; the smallest is {smallest}")
        return value

    return parse


def _number(option: str, *, positive: bool) -> Callable[[str], float]:
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


def _one_of(option: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ConfigError(f"{option} {text!r} is unknown; choose {' or '.join(choices)}")
        return text

    return parse


def _text(option: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text.strip():
            raise ConfigError(f"{option} is empty; give at least one word")
        return text

    return parse


@dataclass(frozen=True, slots=True)
class Setting:
    """One option: `--{name}` and the ini key `dllama_{name}`."""

    name: str
    metavar: str
    default: str
    help: str
    parse: Callable[[str], Any]

    @property
    def flag(self) -> str:
        """As typed on the command line."""
        return f"--{self.name}"

    @property
    def key(self) -> str:
        """The ini key, and the name under which pytest keeps the flag's value."""
        return "dllama_" + self.name.replace("-", "_")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "nodes",
        "N,N,..",
        "2,4,8",
        "node counts to measure; each counts the root (2 = one root and one worker)",
        parse_node_counts,
    ),
    Setting(
        "models",
        "MODEL,..",
        SHIPPED_MODEL,
        "models to measure: tiny (shipped), PATH.m:PATH.t, or synthetic:SHAPE (random weights of "
        "a named shape such as llama-160m, kept in the user's cache folder)",
        str,
    ),
    Setting(
        "steps",
        "N",
        "64",
        "position at which a request ends, prompt included, as dllama counts",
        _at_least("--steps", 1),
    ),
    Setting("prompt", "TEXT", DEFAULT_PROMPT, "text to continue", _text("--prompt")),
    Setting(
        "repeats", "N", "3", "measured requests a cell, each in a new root process",
        _at_least("--repeats", 1),
    ),
    Setting(
        "warmup", "N", "1", "requests a cell runs before it is measured", _at_least("--warmup", 0)
    ),
    Setting("nthreads", "N", "1", "threads of each node's process", _at_least("--nthreads", 1)),
    Setting(
        "buffer-float-type",
        "q80|f32",
        "q80",
        "type in which activations cross the wire",
        _one_of("--buffer-float-type", BUFFER_FLOAT_TYPES),
    ),
    Setting(
        "sync-mode",
        "reduce|invariant",
        "reduce",
        "reduce: partial sums are exchanged, as dllama does; invariant: the same logits on any "
        "node count, bit by bit",
        _one_of("--sync-mode", SYNC_MODES),
    ),
    Setting(
        "temperature", "X", "0", "0 takes the best token; above 0 samples",
        _number("--temperature", positive=False),
    ),
    Setting("seed", "N", "12345", "seed of the sampler", _at_least("--seed", 0)),
    Setting("report", "DIR", "report", "folder of the run file, the reports and the logs", str),
    Setting("thresholds", "FILE", "", "TOML file with limits by model and node count", str),
    Setting(
        "request-timeout",
        "SECONDS",
        "300",
        "give a cell up when its cluster shows no progress for so long",
        _number("--request-timeout", positive=True),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabConfig:
    """What the user asked for."""

    node_counts: tuple[int, ...]
    models: tuple[ModelSpec, ...]
    steps: int
    prompt: str
    repeats: int
    warmup: int
    nthreads: int
    buffer_float_type: str
    sync_mode: str
    temperature: float
    seed: int
    report_folder: Path
    thresholds_file: Path | None
    request_timeout_s: float
    explicit: bool  # any flag or ini key was given: this run means us

    @classmethod
    def from_pytest(cls, config: pytest.Config) -> LabConfig:
        """Read flags, then ini keys, then defaults.

        Raises:
            ConfigError: a value that cannot be.
        """
        raw = {setting.name: _read(config, setting) for setting in SETTINGS}
        value = {s.name: s.parse(raw[s.name].text) for s in SETTINGS if s.name != "models"}
        models, report, thresholds = raw["models"], raw["report"], raw["thresholds"]
        return cls(
            node_counts=value["nodes"],
            models=parse_models(models.text, models.base),
            steps=value["steps"],
            prompt=value["prompt"],
            repeats=value["repeats"],
            warmup=value["warmup"],
            nthreads=value["nthreads"],
            buffer_float_type=value["buffer-float-type"],
            sync_mode=value["sync-mode"],
            temperature=value["temperature"],
            seed=value["seed"],
            report_folder=report.base / report.text,
            thresholds_file=thresholds.base / thresholds.text if thresholds.text else None,
            request_timeout_s=value["request-timeout"],
            explicit=any(item.given for item in raw.values()),
        )


@dataclass(frozen=True, slots=True)
class _Raw:
    text: str
    given: bool
    base: Path  # relative paths start at the working folder (flag) or the ini file's (key)


def _read(config: pytest.Config, setting: Setting) -> _Raw:
    flag = config.getoption(setting.key, default=None)
    if flag is not None:
        return _Raw(str(flag), True, config.invocation_params.dir)
    key = config.getini(setting.key)
    if key:
        folder = config.inipath.parent if config.inipath else config.rootpath
        return _Raw(str(key), True, folder)
    return _Raw(setting.default, False, config.invocation_params.dir)


def add_options(parser: pytest.Parser) -> None:
    """Declare every flag and ini key.

    A flag that another plugin took first is ours as `--dllama-NAME` only.
    """
    group = parser.getgroup("dllama", "performance of distributed LLM inference (pytest-dllama)")
    for setting in SETTINGS:
        default = setting.default or "none"
        text = f"{setting.help} (default: {default})".replace("%", "%%")
        attributes = {"dest": setting.key, "metavar": setting.metavar, "default": None}
        try:
            group.addoption(setting.flag, **attributes, help=text)
        except (ValueError, argparse.ArgumentError):
            group.addoption(f"--dllama-{setting.name}", **attributes, help=text)
        parser.addini(setting.key, f"default of {setting.flag}", default=None)
