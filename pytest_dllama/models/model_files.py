"""`--models` entries -> files on disk that can be measured, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, ModelSpec
from pytest_dllama.files.reasons import reason_of
from pytest_dllama.models import engine_facts
from pytest_dllama.models.file_digest import file_digest
from pytest_dllama.models.kept import cache_folder, note_use
from pytest_dllama.models.sizes import RequestSize, request_size
from pytest_dllama.record.cell import Workload

if TYPE_CHECKING:
    from pytest_dllama.record.run import ModelRecord


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """A model whose files exist."""

    record: ModelRecord
    model_file: Path
    tokenizer_file: Path

    def request_size(self, config: LabConfig, workload: Workload) -> RequestSize:
        """How large a cell's request on it is; raises ConfigError."""
        facts = engine_facts.file_config(self.model_file)
        tokenizer = engine_facts.file_tokenizer(self.tokenizer_file)
        return request_size(config, workload, facts, tokenizer)


def check_model(
    spec: ModelSpec,
    node_counts: Sequence[int],
    config: LabConfig,
    workload: Workload | None = None,
) -> RequestSize:
    """Check all that can be known without writing a file or starting a process.

    Args:
        spec: the model.
        node_counts: of its cells.
        config: with the options of the workload in place.
        workload: of these cells; None: what the options say.

    Returns:
        How large the request of these cells is.

    Raises:
        ConfigError: a missing or broken file, an unknown shape, more nodes than the model allows,
            or a request that its context cannot hold.
    """
    try:
        model_config = config_of(spec)
        for nodes in node_counts:
            engine_facts.check_split(
                model_config, nodes, config.buffer_float_type, config.sync_mode
            )
        tokenizer = _tokenizer_of(spec)
    except engine_facts.EngineError as error:
        raise ConfigError(f"--models {spec.text}: {error}") from error
    try:
        return request_size(config, workload or Workload(), model_config, tokenizer)
    except (engine_facts.EngineError, ConfigError) as error:
        raise ConfigError(f"{error} (--models {spec.text})") from error


def _tokenizer_of(spec: ModelSpec) -> engine_facts.Tokenizer:
    """A model's tokenizer, of a synthetic one without a file."""
    if spec.kind == "synthetic":
        return engine_facts.shape_tokenizer(engine_facts.shape_config(spec.model).vocab_size)
    return engine_facts.file_tokenizer(_files(spec)[1])


def config_of(spec: ModelSpec) -> engine_facts.ModelConfig:
    """A model's configuration, from its file or its shape.

    Raises:
        ConfigError: a missing or broken file, or an unknown shape.
    """
    try:
        if spec.kind == "synthetic":
            return engine_facts.shape_config(spec.model)
        return engine_facts.file_config(_files(spec)[0])
    except engine_facts.EngineError as error:
        raise ConfigError(f"--models {spec.text}: {error}") from error


def _files(spec: ModelSpec) -> tuple[Path, Path]:
    """The two files of a spec that names files, which must exist."""
    if spec.kind == "shipped":
        return _shipped_files(spec)
    files = spec.base / spec.model, spec.base / spec.tokenizer
    for path in files:
        if not path.is_file():
            is_odd = path.exists()
            what = f"{path} is a pipe, device or folder" if is_odd else f"no file {path}"
            raise ConfigError(
                f"--models {spec.text}: {what}; give the path of a .m model and of its .t tokenizer"
            )
    return files


def _shipped_files(spec: ModelSpec) -> tuple[Path, Path]:
    files = engine_facts.shipped_model(spec.model)
    if files is None:
        names = ", ".join(engine_facts.shipped_names()) or "none"
        # A shape's name alone is the likeliest slip: reports call a synthetic model by it.
        near = get_close_matches(spec.model, engine_facts.shape_names(), n=1, cutoff=0.8)
        shape = near[0] if near else "SHAPE"
        raise ConfigError(
            f"--models {spec.text}: no shipped model of this name (there is: {names}); for random "
            f"weights write synthetic:{shape}, for your own files MODEL.m:TOKENIZER.t"
        )
    return files


def open_model(spec: ModelSpec, progress: Callable[[int, int], None]) -> ModelUnderTest:
    """A model's files, a synthetic one written first if it is not in the cache.

    Raises:
        ConfigError: files that cannot be used or written.
    """
    try:
        files = _synthetic(spec, progress) if spec.kind == "synthetic" else _files(spec)
        record = engine_facts.model_record(spec.name, engine_facts.file_config(files[0]), *files)
    except engine_facts.EngineError as error:
        raise ConfigError(f"--models {spec.text}: {error}") from error
    return ModelUnderTest(record.model_copy(update={"digest": file_digest(files[0])}), *files)


def _synthetic(spec: ModelSpec, progress: Callable[[int, int], None]) -> tuple[Path, Path]:
    """A synthetic model's files in the cache, written unless they are there."""
    folder = cache_folder()
    try:
        files = engine_facts.write_shape(spec.model, folder, progress)
    except OSError as error:
        raise ConfigError(
            f"--models {spec.text}: it cannot be written in {folder} ({reason_of(error)}); make "
            "room there, or set XDG_CACHE_HOME to another folder"
        ) from None
    note_use(files[0])
    return files
