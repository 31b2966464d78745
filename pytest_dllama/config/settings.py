"""What the user asked for, in one frozen object.

`LabConfig.from_pytest(config)` reads flags first, then ini keys, then defaults, as `config.options`
declares them. Nothing here touches models or limits; what needs them is checked at collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dllama.config.baseline import FORMS, Comparison, comparison_of
from pytest_dllama.config.ini_values import ini_text
from pytest_dllama.config.links import boards_of, topology_of
from pytest_dllama.config.options import HISTORY_AUTO, HISTORY_OFF, SETTINGS, Setting
from pytest_dllama.config.sweeps import SEPARATOR
from pytest_dllama.config.values import (
    ConfigError,
    ModelSpec,
    parse_models,
)

if TYPE_CHECKING:
    import pytest

    from pytest_dllama.emulation.topology import Topology


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
    retry_lost: int = 1
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
    overlap: str = "off"
    report_formats: tuple[str, ...] = ("md", "html")
    inject: str = ""
    history_folder: Path | None = None  # None: the user's data folder
    keeps_history: bool = True
    history_keep: tuple[int, int] = (1000, 730)  # runs, days
    trace_folder: Path | None = None  # of a trace a cell; None: nothing is traced
    comparison: Comparison | None = None  # A against B, with --baseline
    topology: Topology | None = None  # emulated, with --link, --links or --emulate
    energy: bool = False  # the machines' own meters are read
    power_file: Path | None = None  # of a meter at the plug

    @property
    def memory_bps(self) -> float | None:
        """Bytes a second of each emulated board's memory; None: no board is emulated."""
        return self.topology.board.memory_bps if self.topology and self.topology.board else None

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
        for setting in SETTINGS:
            _refuse_nothing(setting, raw[setting.name])
        value = {s.name: s.parse(raw[s.name].text) for s in SETTINGS if s.name != "models"}
        models, report = raw["models"], raw["report"]
        _give_way(raw, value, "output-tokens", "steps")
        _give_way(raw, value, "prompt-tokens", "prompt")
        _refuse_beside_calibration(raw, value["calibrate"])
        nodes, emulate = raw["nodes"], raw["emulate"]
        at_one_place = nodes.given and (nodes.is_flag or not emulate.is_flag)
        boards = boards_of(value["emulate"], value["nodes"] if at_one_place else None)
        return cls(
            node_counts=(boards.nodes,) if boards else value["nodes"],
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
            thresholds_file=_path(raw["thresholds"]),
            request_timeout_s=value["request-timeout"],
            explicit=any(item.given for item in raw.values()),
            engine=value["engine"],
            dllama_bin=_program(raw["dllama-bin"]),
            dllama_args=value["dllama-args"],
            cooldown_c=value["cooldown"],
            retry_lost=value["retry-lost"],
            keep_workers=value["keep-workers"],
            strict_thresholds=value["strict-thresholds"],
            inject=value["inject"],
            history_folder=_history(raw["history"]),
            keeps_history=raw["history"].text != HISTORY_OFF,
            history_keep=value["history-keep"],
            comparison=comparison_of(value, raw["baseline"].base),
            trace_folder=_path(raw["trace-dir"]),
            csv_file=_path(raw["csv"]),
            hosts_file=_path(raw["hosts"]),
            hosts_only=tuple(n.strip() for n in value["hosts-only"].split(",") if n.strip()),
            prompt_tokens=value["prompt-tokens"],
            output_tokens=value["output-tokens"],
            context_depth=value["context-depth"],
            sweep=value["sweep"],
            max_seq_len=value["max-seq-len"],
            kv_type=value["kv-type"],
            collective=value["collective"],
            overlap=value["overlap"],
            topology=topology_of(
                value["link"], _path(raw["links"]), boards, has_hosts=bool(raw["hosts"].text)
            ),
            energy=value["energy"],
            power_file=_path(raw["power"]),
        )


@dataclass(frozen=True, slots=True)
class _Raw:
    text: str
    given: bool
    base: Path  # relative paths start at the working folder (flag) or the ini file's (key)
    is_flag: bool = False


def _refuse_nothing(setting: Setting, raw: _Raw) -> None:
    """A flag without a text, as a variable leaves it that was not set, must not mean its default.

    Raises:
        ConfigError: such a flag; parsers of numbers and choices have words of their own for it.
    """
    asks = raw.is_flag and setting.metavar and setting.name != "dllama-args"  # words may be none
    if not asks or raw.text.strip() or not (setting.default == "" or setting.parse is str):
        return
    write = FORMS if setting.name == "baseline" else setting.metavar
    raise ConfigError(
        f"{setting.flag} {raw.text!r} names nothing; write {write}, or leave it out "
        f"(-o {setting.key}= takes back what an ini file says)"
    )


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


def _refuse_beside_calibration(raw: dict[str, _Raw], pairs: int) -> None:
    """What would leave a calibration without its history, or say its pairs a second time."""
    if pairs and raw["history"].text == HISTORY_OFF:
        raise ConfigError(
            f"--calibrate {pairs} keeps what it learns in the history, and --history off keeps "
            "nothing; name a folder with --history DIR"
        )
    if pairs and raw["pairs"].is_flag:
        raise ConfigError(
            f"--calibrate {pairs} says how many pairs are taken; leave out --pairs "
            f"{raw['pairs'].text}"
        )


def _program(raw: _Raw) -> str:
    """A relative path from where it was written; a bare name is for PATH to find."""
    return str(raw.base / raw.text) if "/" in raw.text else raw.text


def _path(raw: _Raw) -> Path | None:
    return raw.base / raw.text if raw.text else None


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
