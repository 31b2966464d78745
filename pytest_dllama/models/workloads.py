"""Sweeps: which workloads the options ask for, and what a cell's own options make of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from pytest_dllama.config.options import SETTINGS
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.record.cell import Workload

Options = tuple[tuple[str, str], ...]  # of the engine: name and value

# Options of ours that a request of one cell may have otherwise than another's.
_FIELDS = {
    name: name.replace("-", "_")
    for name in (
        *("nthreads", "buffer-float-type", "sync-mode", "collective", "overlap"),
        *("kv-type", "max-seq-len", "temperature", "seed", "steps"),
    )
}


def workloads(config: LabConfig) -> Iterator[Workload]:
    """All combinations of what is swept; the one empty workload where nothing is.

    Options change last: another one may need workers that start anew, another prompt does not.
    """
    sizes = (config.prompt_tokens, config.output_tokens, config.context_depth)
    values = [[(name, value) for value in values] for name, values in config.sweep]
    for options in product(*values):
        for prompt, output, depth in product(*(size or (None,) for size in sizes)):
            yield Workload(
                prompt_tokens=prompt,
                output_tokens=output,
                context_depth=depth,
                options=tuple(options),
            )


def configured(config: LabConfig, workload: Workload) -> LabConfig:
    """The options of one cell: what it sweeps stands in place of what all others have.

    Raises:
        ConfigError: a value that the option cannot take, or an option that is not of a request.
    """
    changes: dict[str, Any] = {}
    for name, text in workload.options:
        if name in _FIELDS:
            changes[_FIELDS[name]] = _parser(name)(text)
        elif name in {setting.name for setting in SETTINGS}:
            raise ConfigError(
                f"--sweep {name}={text}: --{name} is not of a single request; of ours "
                f"{', '.join(_FIELDS)} can be swept, and every option that is the engine's own"
            )
    if "steps" in dict(workload.options) and workload.output_tokens is not None:
        raise ConfigError(
            "--sweep steps=.. and --output-tokens exclude each other: both say where a request "
            "ends; leave one out"
        )
    return replace(config, **changes)


def engine_options(workload: Workload) -> Options:
    """Swept options that only the engine knows."""
    return tuple((name, text) for name, text in workload.options if name not in _FIELDS)


def _parser(name: str) -> Any:
    return next(setting.parse for setting in SETTINGS if setting.name == name)
