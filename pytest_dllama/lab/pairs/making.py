"""From what the options say to the two sides of a comparison; what must be built is built here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pytest_dllama.backends.base import Backend, EngineOptions
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.backends.revision import RevisionBackend
from pytest_dllama.config.baseline import Baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, at_least
from pytest_dllama.hosts.packages.other_engine import OtherEngine
from pytest_dllama.lab.machines import hosts_of_sides, root_is_here
from pytest_dllama.lab.pairs.builds import build_revision
from pytest_dllama.lab.pairs.dllama_builds import build_dllama, dllama_source
from pytest_dllama.lab.pairs.side import Side

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
    own = engine_of(config)
    label = config.dllama_bin or f"this {config.engine} engine"
    found = _base(baseline, config, own, label, tell)
    on_base, on_new = hosts_of_sides(found.config, config, nodes, found.other)
    base = Side("base", found.label, found.backend, found.config, on_base)
    return base, Side("new", label, own, config, on_new)


@dataclass(frozen=True, slots=True)
class _Base:
    """The base, but for where it runs."""

    label: str
    backend: Backend
    config: LabConfig
    other: OtherEngine | None = None


def _base(baseline: Baseline, config: LabConfig, own: Backend, label: str, tell: Tell) -> _Base:
    if baseline.kind == "self":
        return _Base(label, own, config)
    if baseline.kind == "option":
        return _Base(baseline.text, own, with_options(config, baseline))
    if baseline.kind == "dllama":
        return _other_dllama(baseline, config, tell)
    return _other_revision(baseline, config, tell)


def engine_of(config: LabConfig) -> Backend:
    """The backend that the options name.

    Raises:
        ConfigError: no such engine, or options that it cannot take.
    """
    options = EngineOptions(
        binary=config.dllama_bin,
        arguments=config.dllama_args,
        sync_mode=config.sync_mode,
        collective=config.collective,
        runs_here=config.hosts_file is None,
    )
    return make_backend(config.engine, options)


def with_options(config: LabConfig, baseline: Baseline) -> LabConfig:
    """The options with those of `option:NAME=VALUE` in their place."""
    options = dict(baseline.options)
    return replace(
        config,
        nthreads=at_least("nthreads", 1)(options.get("nthreads", str(config.nthreads))),
        buffer_float_type=options.get("buffer-float-type", config.buffer_float_type),
        sync_mode=options.get("sync-mode", config.sync_mode),
        collective=options.get("collective", config.collective),
    )


def _other_dllama(baseline: Baseline, config: LabConfig, tell: Tell) -> _Base:
    if config.engine != "dllama":
        raise ConfigError(
            f"--baseline {baseline.text}: it is compared with --engine dllama --dllama-bin PATH"
        )
    if not baseline.revision:
        other = replace(config, dllama_bin=baseline.path)
        return _Base(baseline.path, engine_of(other), other)
    source = dllama_source(baseline.path, baseline.revision)
    revision = source.revision
    if root_is_here(config):
        program = str(build_dllama(source, tell))
    else:  # each host builds its own, which takes this name's place
        program = f"dllama-{revision.commit[:10]}"
    other = replace(config, dllama_bin=program)
    engine = OtherEngine(commit=revision.commit, source=source.tar)
    return _Base(f"dllama {revision.label}", engine_of(other), other, engine)


def _other_revision(baseline: Baseline, config: LabConfig, tell: Tell) -> _Base:
    if config.engine != "embedded":
        raise ConfigError(f"--baseline {baseline.text}: revisions are the embedded engine's")
    build = build_revision(baseline.path, baseline.revision, tell)
    if config.hosts_file is not None and build.wheel is None:
        raise ConfigError(
            f"--baseline {baseline.text}: {build.revision.label} is of before the engine had a "
            "package of its own, so it cannot be sent to --hosts; compare it on this machine"
        )
    other = OtherEngine(build.wheel, build.environment)
    return _Base(build.revision.label, RevisionBackend(build.environment), config, other)
