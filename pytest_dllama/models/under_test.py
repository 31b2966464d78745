"""`--models` entries -> files on disk that can be measured, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, ModelSpec
from pytest_dllama.models import engine_facts

if TYPE_CHECKING:
    from pytest_dllama.record.run import ModelRecord


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """A model whose files exist."""

    record: ModelRecord
    model_file: Path
    tokenizer_file: Path


def cache_folder() -> Path:
    """Where synthetic models are kept between runs."""
    return Path(platformdirs.user_cache_dir("pytest-dllama")) / "models"


def check_model(spec: ModelSpec, node_counts: Sequence[int], config: LabConfig) -> None:
    """Check all that can be known without writing a file or starting a process.

    Raises:
        ConfigError: a missing or broken file, an unknown shape, more nodes than the model allows,
            or a prompt that leaves no step.
    """
    try:
        model_config = config_of(spec)
        for nodes in node_counts:
            engine_facts.check_split(
                model_config, nodes, config.buffer_float_type, config.sync_mode
            )
        if spec.kind != "synthetic":
            check_prompt(_files(spec)[1], config)
    except engine_facts.EngineError as error:
        raise ConfigError(f"--models {spec.text}: {error}") from error


def config_of(spec: ModelSpec) -> engine_facts.ModelConfig:
    """A model's configuration, from its file or its shape; raises ConfigError or EngineError."""
    if spec.kind == "synthetic":
        return engine_facts.shape_config(spec.model)
    return engine_facts.file_config(_files(spec)[0])


def _files(spec: ModelSpec) -> tuple[Path, Path]:
    """The two files of a spec that names files, which must exist."""
    if spec.kind == "shipped":
        return _shipped_files(spec)
    files = spec.base / spec.model, spec.base / spec.tokenizer
    for path in files:
        if not path.is_file():
            raise ConfigError(
                f"--models {spec.text}: no file {path}; give the path of a .m model and of its "
                ".t tokenizer"
            )
    return files


def _shipped_files(spec: ModelSpec) -> tuple[Path, Path]:
    files = engine_facts.shipped_model(spec.model)
    if files is None:
        names = ", ".join(engine_facts.shipped_names()) or "none"
        raise ConfigError(
            f"--models {spec.text}: no shipped model of this name (there is: {names}); for your "
            "own write MODEL.m:TOKENIZER.t, for random weights synthetic:SHAPE"
        )
    return files


def check_prompt(tokenizer_file: Path, config: LabConfig) -> None:
    """The prompt must leave at least one step."""
    n_tokens = engine_facts.prompt_tokens(tokenizer_file, config.prompt)
    if n_tokens > config.steps:
        raise ConfigError(
            f"--prompt has {n_tokens} tokens and --steps is {config.steps}: steps count the prompt "
            f"too, so nothing would be generated; use --steps {n_tokens + 1} or more, or a shorter "
            "prompt"
        )


def open_model(
    spec: ModelSpec, config: LabConfig, progress: Callable[[int, int], None]
) -> ModelUnderTest:
    """A model's files, a synthetic one written first if it is not in the cache.

    Raises:
        ConfigError: files that cannot be used or written.
    """
    try:
        if spec.kind == "synthetic":
            files = engine_facts.write_shape(spec.model, cache_folder(), progress)
            check_prompt(files[1], config)
        else:
            files = _files(spec)
        record = engine_facts.model_record(spec.name, engine_facts.file_config(files[0]), *files)
    except engine_facts.EngineError as error:
        raise ConfigError(f"--models {spec.text}: {error}") from error
    return ModelUnderTest(record, *files)
