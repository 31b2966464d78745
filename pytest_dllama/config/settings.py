"""The options: one declaration gives flag, ini key, help and parser; one frozen object holds all.

`LabConfig.from_pytest(config)` reads flags first, then ini keys, then defaults. Nothing here
touches models or limits; what needs them is checked at collection (`models`, `thresholds`).
How flags are declared and spelled is `config.flags`'; what ini files hold, `config.ini_values`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dllama.config.baseline import (
    Comparison,
    comparison_of,
    parse_calibration,
    parse_looks,
    parse_order_seed,
)
from pytest_dllama.config.ini_values import ini_text
from pytest_dllama.config.sweeps import SEPARATOR, parse_depths, parse_sizes, parse_sweep
from pytest_dllama.config.values import (
    BUFFER_FLOAT_TYPES,
    COLLECTIVES,
    DEFAULT_PROMPT,
    KV_TYPES,
    SHIPPED_MODEL,
    SYNC_MODES,
    ConfigError,
    ModelSpec,
    at_least,
    number,
    one_of,
    parse_models,
    parse_node_counts,
    prompt_text,
    some_of,
    text_of,
    two_at_least,
    words_of,
    yes_or_no,
)

if TYPE_CHECKING:
    import pytest

HISTORY_AUTO, HISTORY_OFF = "auto", "off"


@dataclass(frozen=True, slots=True)
class Setting:
    """One option: `--dllama-{name}`, `--{name}` where it is free, the ini key `dllama_{name}`."""

    name: str
    metavar: str  # empty: a switch
    default: str
    help: str
    parse: Callable[[str], Any]
    is_repeatable: bool = False  # each further flag adds to the value

    @property
    def flag(self) -> str:
        """As typed on the command line, where nobody else declared it."""
        return f"--{self.name}"

    @property
    def long_flag(self) -> str:
        """The spelling that is ours in every environment."""
        return f"--dllama-{self.name.removeprefix('dllama-')}"

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
        at_least("--steps", 1),
    ),
    Setting("prompt", "TEXT", DEFAULT_PROMPT, "text to continue", prompt_text),
    Setting(
        "prompt-tokens",
        "N,N,..",
        "",
        "in place of --prompt: prompts of exactly so many tokens, made with the model's tokenizer; "
        "one cell for each",
        parse_sizes("--prompt-tokens"),
    ),
    Setting(
        "output-tokens",
        "N,N,..",
        "",
        "in place of --steps: tokens that a request generates; one cell for each",
        parse_sizes("--output-tokens"),
    ),
    Setting(
        "context-depth",
        "N,N,..",
        "",
        "positions of the context that are filled before the clock of a request starts; one cell "
        "for each",
        parse_depths("--context-depth"),
    ),
    Setting(
        "sweep",
        "NAME=V,V,..",
        "",
        "an option of the engine with several values, such as nthreads=1,2; one cell for each; "
        "may be given again for another option",
        parse_sweep,
        is_repeatable=True,
    ),
    Setting(
        "repeats", "N", "3", "measured requests a cell, each in a new root process",
        at_least("--repeats", 1),
    ),
    Setting(
        "warmup", "N", "1", "requests a cell runs before it is measured", at_least("--warmup", 0)
    ),
    Setting("nthreads", "N", "1", "threads of each node's process", at_least("--nthreads", 1)),
    Setting(
        "buffer-float-type",
        "q80|f32",
        "q80",
        "type in which activations cross the wire",
        one_of("--buffer-float-type", BUFFER_FLOAT_TYPES),
    ),
    Setting(
        "sync-mode",
        "reduce|invariant",
        "reduce",
        "reduce: partial sums are exchanged, as dllama does; invariant: the same logits on any "
        "node count, bit by bit",
        one_of("--sync-mode", SYNC_MODES),
    ),
    Setting(
        "collective",
        "NAME",
        "mesh",
        "how the embedded engine's nodes exchange: mesh, two-shot, star, ring, doubling, or auto, "
        "which probes the links and picks (docs/network.md)",
        one_of("--collective", COLLECTIVES),
    ),
    Setting(
        "max-seq-len",
        "N",
        "0",
        "positions that the KV cache is made for; 0: what the longest request of a cell needs",
        at_least("--max-seq-len", 0),
    ),
    Setting(
        "kv-type",
        "f32|f16",
        "f32",
        "type of the KV cache; the real dllama has f32 only",
        one_of("--kv-type", KV_TYPES),
    ),
    Setting(
        "temperature", "X", "0", "0 takes the best token; above 0 samples",
        number("--temperature", positive=False),
    ),
    Setting("seed", "N", "12345", "seed of the sampler", at_least("--seed", 0)),
    Setting(
        "engine",
        "NAME",
        "embedded",
        "engine to measure: embedded (our own), dllama (the real one, with --dllama-bin), or one "
        "that an installed package adds (docs/real-dllama.md)",
        text_of("--engine"),
    ),
    Setting("dllama-bin", "PATH", "", "the real dllama's program, for --engine dllama", str),
    Setting(
        "dllama-args",
        "TEXT",
        "",
        "more arguments for the real dllama's root and workers, such as '--collective star'",
        words_of("--dllama-args"),
    ),
    Setting(
        "hosts",
        "FILE",
        "",
        "TOML file of machines to run on, over SSH (docs/raspberry-pi.md); without it all nodes "
        "are processes of this machine",
        str,
    ),
    Setting("hosts-only", "NAME,..", "", "run on these hosts of the file only, in its order", str),
    Setting(
        "cooldown", "CELSIUS", "0",
        "before each measured request, wait until every host of --hosts is this cool; 0: do not",
        number("--cooldown", positive=False),
    ),
    Setting(
        "keep-workers", "", "no",
        "leave the workers of --hosts running for the next such run, which takes them again; "
        "`pytest-dllama hosts clean` ends them, and so does keep_s of the hosts file",
        yes_or_no("--keep-workers"),
    ),
    Setting("report", "DIR", "report", "folder of the run file, the reports and the logs", str),
    Setting(
        "report-format", "md,html", "md,html",
        "what to write of a report: md, with its pictures beside it; html, one file with all in it",
        some_of("--report-format", ("md", "html")),
    ),
    Setting("thresholds", "FILE", "", "TOML file with limits by model and node count", str),
    Setting(
        "strict-thresholds", "", "no",
        "refuse limits of the thresholds file that no cell of the run has, in place of a warning",
        yes_or_no("--strict-thresholds"),
    ),
    Setting(
        "inject", "SPEC", "",
        "for testing suites: slow the engine down on purpose, as in tpot=10%,ttft=20ms; against "
        "--baseline the new side only (docs/testing.md)",
        str,
    ),
    Setting(
        "history", "DIR", HISTORY_AUTO,
        "folder in which every run is kept, by cluster (docs/history.md); auto: in the user's data "
        "folder; off: nowhere",
        str,
    ),
    Setting(
        "history-keep", "RUNS,DAYS", "1000,730",
        "how many runs of a cluster the history keeps, and for how many days; accepted runs and "
        "anchors stay",
        two_at_least("--history-keep", 1, "1000,730"),
    ),
    Setting(
        "baseline",
        "SPEC",
        "",
        "compare with another version, in pairs, and judge (docs/verdicts.md): self, git:REV, "
        "git:PATH@REV, dllama:PATH, dllama:CHECKOUT@REV, option:NAME=VALUE[,..], run:FILE, "
        "accepted",
        str,
    ),
    Setting(
        "pairs",
        "N,N,..",
        "3,5,7,10",
        "with --baseline, in place of --repeats: after how many pairs to look; only undecided "
        "cells go on",
        parse_looks,
    ),
    Setting(
        "inconclusive", "warn|fail", "warn", "with --baseline: what an undecided metric is",
        one_of("--inconclusive", ("warn", "fail")),
    ),
    Setting(
        "order-seed", "N", "", "with --baseline: seed of the order of sides and cells (drawn and "
        "printed if not given)",
        parse_order_seed,
    ),
    Setting(
        "bisect", "", "no",
        "with --baseline: exit with 0, 1 or 125, as `git bisect run` takes them",
        yes_or_no("--bisect"),
    ),
    Setting(
        "calibrate", "N", "0",
        "take N pairs of the engine against itself in every cell, keep what they say about the "
        "noise, and show what so many pairs can find (docs/history.md)",
        parse_calibration,
    ),
    Setting("csv", "FILE", "", "file for every sample of the run, one request a line", str),
    Setting(
        "request-timeout",
        "SECONDS",
        "300",
        "give a cell up when its cluster shows no progress for so long",
        number("--request-timeout", positive=True),
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
    engine: str = "embedded"
    dllama_bin: str = ""  # a path, or a name that PATH finds
    dllama_args: tuple[str, ...] = ()
    hosts_file: Path | None = None
    hosts_only: tuple[str, ...] = ()
    cooldown_c: float = 0.0
    keep_workers: bool = False
    strict_thresholds: bool = False
    csv_file: Path | None = None
    prompt_tokens: tuple[int, ...] = ()
    output_tokens: tuple[int, ...] = ()
    context_depth: tuple[int, ...] = ()
    sweep: tuple[tuple[str, tuple[str, ...]], ...] = ()  # option -> its values
    max_seq_len: int = 0  # of the KV cache; 0: what a cell's request needs
    kv_type: str = "f32"
    collective: str = "mesh"
    report_formats: tuple[str, ...] = ("md", "html")
    inject: str = ""
    history_folder: Path | None = None  # None: the user's data folder
    keeps_history: bool = True
    history_keep: tuple[int, int] = (1000, 730)  # runs, days
    comparison: Comparison | None = None  # A against B, with --baseline

    @classmethod
    def from_pytest(cls, config: pytest.Config) -> LabConfig:
        """Read flags, then ini keys, then defaults.

        Raises:
            ConfigError: a value that cannot be.
        """
        return cls._of({setting.name: _read(config, setting) for setting in SETTINGS})

    @classmethod
    def of_texts(cls, given: Mapping[str, str], folder: Path) -> LabConfig:
        """The options as a command line of our own gives them, then defaults.

        Args:
            given: option name -> text, as a flag of pytest's would have it.
            folder: where relative paths start.

        Raises:
            ConfigError: a value that cannot be.
        """
        return cls._of(
            {
                s.name: _Raw(given.get(s.name, s.default), s.name in given, folder, s.name in given)
                for s in SETTINGS
            }
        )

    @classmethod
    def _of(cls, raw: dict[str, _Raw]) -> LabConfig:
        value = {s.name: s.parse(raw[s.name].text) for s in SETTINGS if s.name != "models"}
        models, report, thresholds = raw["models"], raw["report"], raw["thresholds"]
        hosts = raw["hosts"]
        _give_way(raw, value, "output-tokens", "steps")
        _give_way(raw, value, "prompt-tokens", "prompt")
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
            report_formats=value["report-format"],
            thresholds_file=thresholds.base / thresholds.text if thresholds.text else None,
            request_timeout_s=value["request-timeout"],
            explicit=any(item.given for item in raw.values()),
            engine=value["engine"],
            dllama_bin=_program(raw["dllama-bin"]),
            dllama_args=value["dllama-args"],
            cooldown_c=value["cooldown"],
            keep_workers=value["keep-workers"],
            strict_thresholds=value["strict-thresholds"],
            inject=value["inject"],
            history_folder=_history(raw["history"]),
            keeps_history=raw["history"].text != HISTORY_OFF,
            history_keep=value["history-keep"],
            comparison=comparison_of(value, raw["baseline"].base),
            csv_file=raw["csv"].base / raw["csv"].text if raw["csv"].text else None,
            hosts_file=hosts.base / hosts.text if hosts.text else None,
            hosts_only=tuple(n.strip() for n in value["hosts-only"].split(",") if n.strip()),
            prompt_tokens=value["prompt-tokens"],
            output_tokens=value["output-tokens"],
            context_depth=value["context-depth"],
            sweep=value["sweep"],
            max_seq_len=value["max-seq-len"],
            kv_type=value["kv-type"],
            collective=value["collective"],
        )


@dataclass(frozen=True, slots=True)
class _Raw:
    text: str
    given: bool
    base: Path  # relative paths start at the working folder (flag) or the ini file's (key)
    is_flag: bool = False


def _give_way(raw: dict[str, _Raw], value: dict[str, Any], sizes: str, other: str) -> None:
    """Two options that say the same: both at one place cannot be; a flag overrules an ini key."""
    a, b = raw[sizes], raw[other]
    if not (a.given and b.given):
        return
    if a.is_flag == b.is_flag:
        raise ConfigError(
            f"--{sizes} {a.text} and --{other} {b.text} exclude each other: both say "
            f"{_SAME[sizes]}; leave one out"
        )
    if b.is_flag:
        value[sizes] = ()


_SAME = {"output-tokens": "where a request ends", "prompt-tokens": "what the prompt is"}


def _program(raw: _Raw) -> str:
    """A relative path from where it was written; a bare name is for PATH to find."""
    return str(raw.base / raw.text) if "/" in raw.text else raw.text


def _history(raw: _Raw) -> Path | None:
    return raw.base / raw.text if raw.text not in (HISTORY_AUTO, HISTORY_OFF) else None


def _read(config: pytest.Config, setting: Setting) -> _Raw:
    flag = config.getoption(setting.key, default=None)
    if flag is not None:
        text = SEPARATOR.join(flag) if isinstance(flag, list) else str(flag)
        return _Raw(text, True, config.invocation_params.dir, is_flag=True)
    key = ini_text(config, setting.key)
    if key:
        folder = config.inipath.parent if config.inipath else config.rootpath
        return _Raw(key, True, folder)
    return _Raw(setting.default, False, config.invocation_params.dir)
