"""Which engines there are: our own, the real dllama, and those that installed packages add.

A package adds one with an entry point of the group `pytest_dllama.engines`: its name is what
`--engine` takes, its value a function that makes a `Backend` of `EngineOptions`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from pytest_dllama.backends.base import Backend, EngineOptions
from pytest_dllama.backends.program_file import why_no_program
from pytest_dllama.config.values import ConfigError

if TYPE_CHECKING:
    from pytest_dllama.backends.dllama.versions import Engine

GROUP = "pytest_dllama.engines"


def make_backend(name: str, options: EngineOptions) -> Backend:
    """The engine of a name.

    Raises:
        ConfigError: no such engine, or options that it cannot take.
    """
    makers = engine_makers()
    if name not in makers:
        raise ConfigError(
            f"--engine {name!r} is unknown; choose {', '.join(sorted(makers))}, or install a "
            f"package that adds it (entry point group {GROUP})"
        )
    if options.inject and name != "embedded":
        raise ConfigError(
            f"--inject {options.inject}: only our own engine can be slowed down on purpose, not "
            f"{name}; leave out --inject or --engine"
        )
    if options.memory_bps and name != "embedded":
        raise ConfigError(
            f"--emulate: only our own engine can compute as slowly as a board, not {name}; put it "
            "on such links alone: --link and --nodes in place of --emulate"
        )
    return makers[name](options)


def engine_makers() -> dict[str, Callable[[EngineOptions], Backend]]:
    """Every engine by name; an installed one cannot take the place of a built-in one."""
    makers = {point.name: _plugged_in(point.name) for point in entry_points(group=GROUP)}
    return {**makers, "embedded": _embedded, "dllama": _dllama}


def _plugged_in(name: str) -> Callable[[EngineOptions], Backend]:
    def make(options: EngineOptions) -> Backend:
        (point, *more) = entry_points(group=GROUP, name=name)
        if more:
            owners = ", ".join(sorted(p.value for p in (point, *more)))
            raise ConfigError(f"--engine {name}: several packages add it ({owners}); remove one")
        try:
            maker: Callable[[EngineOptions], Backend] = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"--engine {name}: {point.value} cannot be loaded: {error}"
            ) from error
        return maker(options)

    return make


def _embedded(options: EngineOptions) -> Backend:
    from pytest_dllama.backends.embedded import EmbeddedBackend
    from pytest_dllama.backends.embedded_options import why_not_swept

    if options.binary:
        raise ConfigError("--dllama-bin is for the real dllama; add --engine dllama")
    for name, value in options.swept:
        if why := why_not_swept(name, value):
            raise ConfigError(f"--sweep {name}={value}: {why}")
    return EmbeddedBackend(options.swept, options.inject, options.memory_bps)


def _dllama(options: EngineOptions) -> Backend:
    from pytest_dllama.backends.dllama.backend import DllamaBackend
    from pytest_dllama.backends.dllama.versions import flag_pairs
    from pytest_dllama.backends.embedded import EmbeddedBackend

    if not options.binary:
        raise ConfigError("--engine dllama needs --dllama-bin PATH, the program that runs there")
    _refuse_our_own(options)
    swept = [word for name, value in options.swept for word in (f"--{name}", value)]
    arguments = (*options.arguments, *swept)
    if not options.runs_here:
        return DllamaBackend(options.binary, arguments, EmbeddedBackend())
    found = _program_here(options.binary)
    engine = _asked(found, flag_pairs(arguments))
    for name, value in options.swept:
        if engine.lacks(f"--{name}"):
            raise ConfigError(
                f"--sweep {name}={value}: this dllama ({engine.version}) has no option --{name}"
            )
    return DllamaBackend(found, arguments, EmbeddedBackend(), engine)


def _refuse_our_own(options: EngineOptions) -> None:
    """Options of the embedded engine that the real dllama has not, or takes otherwise."""
    if options.sync_mode != "reduce":
        raise ConfigError(
            f"--sync-mode {options.sync_mode} is our own engine's; the real dllama only reduces: "
            "leave it out"
        )
    if options.collective != "mesh":
        raise ConfigError(
            f"--collective {options.collective} is our own engine's; a build of the real dllama "
            "that has collectives takes them as --dllama-args '--collective NAME'"
        )
    if options.overlap != "off":
        raise ConfigError(
            f"--overlap {options.overlap} is our own engine's; the real dllama sends what it has "
            "computed: leave it out"
        )
    if options.kv_type != "f32":
        raise ConfigError(
            f"--kv-type {options.kv_type} is our own engine's; the real dllama's cache is f32: "
            "leave it out"
        )


def _program_here(binary: str) -> str:
    """Where on this machine it is; what starts and follows it must be there too."""
    found = shutil.which(binary)
    if found is None:
        raise ConfigError(f"--dllama-bin {binary}: {why_no_program(binary)}")
    for tool in ("sh", "stdbuf", "tail"):
        if shutil.which(tool) is None:
            raise ConfigError(f"--engine dllama needs the program {tool} (coreutils); install it")
    return found


def _asked(program: str, flags: Mapping[str, str]) -> Engine:
    """Which dllama it is, if it is one that can be measured."""
    from pytest_dllama.backends.dllama.asking import engine_here
    from pytest_dllama.backends.dllama.rules import refused_version

    try:
        engine = engine_here(program, flags)
    except OSError as error:
        raise ConfigError(
            f"--dllama-bin {program} cannot be started ({error.strerror or error}): "
            f"{why_no_program(program)}"
        ) from error
    if why := refused_version(engine, f"--dllama-bin {program}"):
        raise ConfigError(why)
    return engine
