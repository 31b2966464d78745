"""From what the options say to the two sides of a comparison; what must be built is built here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_dllama.backends.base import EngineRequest
from pytest_dllama.backends.revision import SEVERAL, RevisionBackend, flags_of
from pytest_dllama.config.baseline import Baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, at_least
from pytest_dllama.hosts.packages.other_engine import OtherEngine
from pytest_dllama.lab.assembly import engine_label
from pytest_dllama.lab.builds.dllama import build_dllama, dllama_source
from pytest_dllama.lab.builds.revisions import build_revision
from pytest_dllama.lab.engines import engines
from pytest_dllama.lab.machines.choice import hosts_of_sides, root_is_here
from pytest_dllama.lab.pairs.side import Side
from pytest_dllama.models.workloads import configured, workloads
from pytest_dllama.record.verdict import label_of

Tell = Callable[[str], None]


def make_sides(baseline: Baseline, config: LabConfig, nodes: int, tell: Tell) -> tuple[Side, Side]:
    """Base and new.

    Args:
        baseline: what to compare with; one that can run.
        config: the options, which are the new side's.
        nodes: of the largest cell.
        tell: takes a line when something has to be built.

    Raises:
        ConfigError: a baseline that does not fit the engine, or cannot be built.
    """
    label = engine_label(config)
    own, swept = engines(config)
    new = Side("new", label_of(label, config.inject), own, config, swept=swept)
    found = _base(baseline, replace(config, inject=""), label, tell)
    on_base, on_new = hosts_of_sides(found.side.config, config, nodes, found.other)
    return replace(found.side, hosts=on_base), replace(new, hosts=on_new)


@dataclass(frozen=True, slots=True)
class _Base:
    """The base, before it is known where it runs."""

    side: Side
    other: OtherEngine | None = None


def _base(baseline: Baseline, config: LabConfig, label: str, tell: Tell) -> _Base:
    if baseline.kind == "self":
        own, swept = engines(config)
        return _Base(Side("base", label, own, config, swept=swept))
    if baseline.kind == "option":
        other = with_options(config, baseline)
        if other == config and not config.sweep:
            raise ConfigError(
                f"--baseline {baseline.text}: the new side runs with just that, so both would be "
                "the same; give the base another value, or write --baseline self for A/A"
            )
        own, swept = engines(other)
        return _Base(Side("base", baseline.text, own, other, swept=swept))
    if baseline.kind == "dllama":
        return _other_dllama(baseline, config, tell)
    return _other_revision(baseline, config, tell)


def with_options(config: LabConfig, baseline: Baseline) -> LabConfig:
    """The options with those of `option:NAME=VALUE` in their place."""
    options = dict(baseline.options)
    return replace(
        config,
        nthreads=at_least("nthreads", 1)(options.get("nthreads", str(config.nthreads))),
        buffer_float_type=options.get("buffer-float-type", config.buffer_float_type),
        sync_mode=options.get("sync-mode", config.sync_mode),
        collective=options.get("collective", config.collective),
        overlap=options.get("overlap", config.overlap),
    )


def _other_dllama(baseline: Baseline, config: LabConfig, tell: Tell) -> _Base:
    if config.engine != "dllama":
        raise ConfigError(
            f"--baseline {baseline.text}: it is compared with --engine dllama --dllama-bin PATH"
        )
    if not baseline.revision:
        _check_program(baseline, config)
        return _Base(_dllama(replace(config, dllama_bin=baseline.path), baseline.path))
    source = dllama_source(baseline.path, baseline.revision)
    revision = source.revision
    if root_is_here(config):
        program = str(build_dllama(source, tell))
    else:  # each host builds its own, which takes this name's place
        program = f"dllama-{revision.commit[:10]}"
    side = _dllama(replace(config, dllama_bin=program), f"dllama {revision.label}")
    return _Base(side, OtherEngine(commit=revision.commit, source=source.tar))


def _check_program(baseline: Baseline, config: LabConfig) -> None:
    """Refuse a path without a program by the words that named it."""
    if not root_is_here(config) or shutil.which(baseline.path) is not None:
        return
    if Path(baseline.path).is_dir():
        raise ConfigError(
            f"--baseline {baseline.text} is a folder; of a checkout of the source name the "
            f"revision too, which is built then: {baseline.text}@REV"
        )
    raise ConfigError(
        f"--baseline {baseline.text}: no such program, or it is not executable; give the path of "
        "a dllama, or dllama:CHECKOUT@REV to have one built"
    )


def _dllama(config: LabConfig, label: str) -> Side:
    own, swept = engines(config)
    return Side("base", label, own, config, swept=swept)


def _other_revision(baseline: Baseline, config: LabConfig, tell: Tell) -> _Base:
    if config.engine != "embedded":
        raise ConfigError(f"--baseline {baseline.text}: revisions are the embedded engine's")
    build = build_revision(baseline.path, baseline.revision, tell)
    if config.hosts_file is not None and build.wheel is None:
        raise ConfigError(
            f"--baseline {baseline.text}: {build.revision.label} is of before the engine had a "
            "package of its own, so it cannot be sent to --hosts; compare it on this machine"
        )
    _, swept = engines(config)
    flags = flags_of(build.environment)
    own, *others = (
        RevisionBackend(build.environment, options, config.memory_bps, flags)
        for options in ((), *swept)
    )
    engines_of = dict(zip(swept, others, strict=True))
    side = Side("base", build.revision.label, own, config, swept=engines_of)
    _check_flags(side, flags, config)
    return _Base(side, OtherEngine(build.wheel, build.environment))


def _check_flags(side: Side, known: frozenset[str], config: LabConfig) -> None:
    """Refuse options that a revision does not have: each of its cells would be an ERROR."""
    for workload in workloads(config):
        own, engine = configured(config, workload), side.engine(workload)
        asked = EngineRequest(
            *(Path(), Path(), "", 1, own.nthreads, own.buffer_float_type, own.sync_mode),
            *(own.temperature, own.seed, own.request_timeout_s, own.max_seq_len, own.kv_type),
            *(workload.context_depth or 0, own.collective, own.overlap),
        )
        words = [*engine.root_command(asked, ["1:1"], "0"), *engine.worker_command("", 0, 1, "0")]
        if lacking := sorted({word for word in words if word[:2] == "--"} - known):
            raise ConfigError(
                f"--baseline {side.label}: that revision has no {lacking[0]}, which these options "
                f"need{_who_asks(lacking[0])}; compare with a later one, or leave the option out"
            )
        by_size = [text for text in (own.collective, own.overlap) if "@" in text]
        if by_size and SEVERAL not in known:
            raise ConfigError(
                f"--baseline {side.label}: that revision cannot be asked for "
                f"{' and '.join(by_size)}; name one collective, and overlap on or off"
            )


def _who_asks(flag: str) -> str:
    """The option of ours that is called otherwise at the engine."""
    return " (--emulate)" if flag == "--memory-rate" else ""
