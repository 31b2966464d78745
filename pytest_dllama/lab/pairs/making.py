"""From what the options say to the two sides of a comparison; what must be built is built here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_dllama.backends.base import Backend, EngineOptions
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.backends.revision import RevisionBackend
from pytest_dllama.config.baseline import Baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, at_least
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.lab.pairs.builds import build_revision
from pytest_dllama.lab.pairs.dllama_builds import build_dllama, dllama_source
from pytest_dllama.lab.pairs.side import Side

Tell = Callable[[str], None]


def make_sides(baseline: Baseline, config: LabConfig, tell: Tell) -> tuple[Side, Side]:
    """Base and new.

    Args:
        baseline: what to compare with; one that can run.
        config: the options, which are the new side's.
        tell: takes a line when something has to be built.

    Raises:
        ConfigError: a baseline that does not fit the engine, or cannot be built.
    """
    label = config.dllama_bin or f"this {config.engine} engine"
    slowed = f", slowed down on purpose ({config.inject})" if config.inject else ""
    new = Side("new", label + slowed, engine_of(config), config)
    config = replace(config, inject="")
    own = engine_of(config)
    if baseline.kind == "self":
        return Side("base", label, own, config), new
    if baseline.kind == "option":
        return Side("base", baseline.text, own, with_options(config, baseline)), new
    if baseline.kind == "dllama":
        return _other_dllama(baseline, config, tell), new
    return _other_revision(baseline, config, tell), new


def engine_of(config: LabConfig) -> Backend:
    """The backend that the options name.

    Raises:
        ConfigError: no such engine, or options that it cannot take.
    """
    options = EngineOptions(
        binary=config.dllama_bin,
        arguments=config.dllama_args,
        sync_mode=config.sync_mode,
        inject=config.inject,
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
    )


def _other_dllama(baseline: Baseline, config: LabConfig, tell: Tell) -> Side:
    if config.engine != "dllama":
        raise ConfigError(
            f"--baseline {baseline.text}: it is compared with --engine dllama --dllama-bin PATH"
        )
    if not baseline.revision:
        other = replace(config, dllama_bin=baseline.path)
        return Side("base", baseline.path, engine_of(other), other)
    source = dllama_source(baseline.path, baseline.revision)
    other = replace(config, dllama_bin=str(build_dllama(source, tell)))
    return Side("base", f"dllama {source.revision.label}", engine_of(other), other)


def _other_revision(baseline: Baseline, config: LabConfig, tell: Tell) -> Side:
    if config.engine != "embedded":
        raise ConfigError(f"--baseline {baseline.text}: revisions are the embedded engine's")
    build = build_revision(baseline.path, baseline.revision, tell)
    backend = RevisionBackend(build.environment)
    return Side("base", build.revision.label, backend, config, LocalHosts(build.environment))
