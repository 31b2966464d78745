"""The engine's closed forms for a model (memory, traffic, splits), and its model files read."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import dllama_engine
from dllama_engine.errors import EngineError as EngineError
from dllama_engine.formats.config import ModelConfig as ModelConfig
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.loading import cache as weight_cache
from dllama_engine.loading.settings import default_folder as weights_folder
from dllama_engine.sharding.memory import RankMemory as RankMemory
from dllama_engine.sharding.memory import rank_memory, token_read_bytes
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.synthetic.shapes import SHAPES, parse_shape
from dllama_engine.synthetic.vocab import synthetic_vocab
from dllama_engine.system.process_memory import available_bytes as available_bytes
from dllama_engine.text.tokenizer import Tokenizer as EngineTokenizer
from dllama_engine.text.tokenizer import read_tokenizer
from pytest_dllama.record.run import ModelRecord

# What others need to name: the engine's errors and a model's configuration.
__all__ = [
    "EngineError",
    "ModelConfig",
    "RankMemory",
    "Tokenizer",
    "available_bytes",
    "check_split",
    "file_config",
    "file_tokenizer",
    "kept_weights",
    "model_record",
    "rank_memories",
    "remove_weights",
    "shape_config",
    "shape_names",
    "shape_tokenizer",
    "shard_bytes",
    "shipped_model",
    "shipped_names",
    "stale_first_token",
    "token_bytes",
    "weights_folder",
    "write_shape",
]

BATCH_SIZE = 32  # of the engine, unless --nbatches says otherwise
MODELS_FOLDER = Path(dllama_engine.__file__).parent / "models"


def shipped_model(name: str) -> tuple[Path, Path] | None:
    """Model and tokenizer file of a shipped model, if there is one of this name."""
    model, tokenizer = MODELS_FOLDER / f"{name}.m", MODELS_FOLDER / f"{name}.t"
    return (model, tokenizer) if model.exists() and tokenizer.exists() else None


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped models."""
    return tuple(sorted(path.stem for path in MODELS_FOLDER.glob("*.m")))


def file_config(model_file: Path) -> ModelConfig:
    """The configuration in a model file's header; raises EngineError."""
    with ModelFile.open(model_file) as model:
        return model.config


def shape_names() -> tuple[str, ...]:
    """Names of the shapes that a synthetic model may have."""
    return tuple(SHAPES)


def shape_config(shape: str) -> ModelConfig:
    """The configuration of a synthetic shape; raises EngineError."""
    return parse_shape(shape)


def write_shape(
    shape: str, folder: Path, progress: Callable[[int, int], None]
) -> tuple[Path, Path]:
    """Write a synthetic model unless it is there; raises EngineError."""
    return write_synthetic(shape, folder, progress)


def check_split(config: ModelConfig, nodes: int, buffer_float_type: str, sync_mode: str) -> None:
    """Raise EngineError unless the model can be split over so many nodes."""
    _plan(config, nodes, buffer_float_type, sync_mode)


def rank_memories(
    config: ModelConfig,
    nodes: int,
    buffer_float_type: str,
    sync_mode: str,
    max_seq_len: int = 0,
    kv_type: str = "f32",
) -> tuple[RankMemory, ...]:
    """What each rank holds, the root first; `max_seq_len` 0 is the model's context."""
    plan = _plan(config, nodes, buffer_float_type, sync_mode)
    positions = min(max_seq_len or config.seq_len, config.seq_len)
    cache = FloatType.parse(kv_type)
    return tuple(
        rank_memory(plan, rank, batch_size=BATCH_SIZE, max_seq_len=positions, kv_type=cache)
        for rank in range(nodes)
    )


def shard_bytes(
    config: ModelConfig,
    nodes: int,
    buffer_float_type: str,
    sync_mode: str,
    max_seq_len: int = 0,
    kv_type: str = "f32",
) -> tuple[int, ...]:
    """Memory that each rank needs, as `rank_memories` adds it up."""
    needs = rank_memories(config, nodes, buffer_float_type, sync_mode, max_seq_len, kv_type)
    return tuple(need.total_bytes for need in needs)


def token_bytes(
    config: ModelConfig,
    nodes: int,
    buffer_float_type: str,
    sync_mode: str,
    n_positions: float,
    kv_type: str = "f32",
) -> tuple[int, ...]:
    """What each rank must read to decode a token after so many others."""
    plan = _plan(config, nodes, buffer_float_type, sync_mode)
    cache = FloatType.parse(kv_type)
    return tuple(
        token_read_bytes(plan, rank, n_positions=n_positions, kv_type=cache)
        for rank in range(nodes)
    )


def _plan(config: ModelConfig, nodes: int, buffer_float_type: str, sync_mode: str) -> ShardPlan:
    """Who holds what, by the words of the options; raises EngineError."""
    buffers = FloatType.parse(buffer_float_type)
    return make_plan(config, nodes, buffer_type=buffers, sync_mode=SyncMode(sync_mode))


class Tokenizer(EngineTokenizer):
    """A model's, and what the real dllama makes of its texts."""

    def stale_last(self, text: str) -> tuple[str, str] | None:
        """What dllama v0.12 and later decodes its first token from, where that is not the last.

        It reads one place behind the prompt's ids (dllama.cpp, `inputTokens[pos + 1]`), where its
        merging has left the last id of the list as it was before the last merge; 0 if none took
        place.

        Returns:
            (the piece that it takes, the prompt's last piece); None where it takes the right one.

        Raises:
            EngineError: a text that cannot be encoded.
        """
        found = self.stale_ids(text)
        if found is None:
            return None
        taken, last = (self.vocab.tokens[i].decode(errors="replace") for i in found)
        return taken, last

    def stale_ids(self, text: str) -> tuple[int, int] | None:
        """Ids of the two pieces of `stale_last`; raises EngineError as it does."""
        ids, lasts = self.encode_with_lasts(text)
        fed = lasts[-1] if lasts else 0
        return None if len(ids) < 2 or fed == ids[-1] else (fed, ids[-1])


def file_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file, read once while the file stays as it is; raises EngineError."""
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:
        changed_ns = 0  # the reader has the better words
    return _tokenizer(path, changed_ns)


@lru_cache(maxsize=8)
def _tokenizer(path: Path, changed_ns: int) -> Tokenizer:
    return Tokenizer(read_tokenizer(path).vocab)


@lru_cache(maxsize=8)
def shape_tokenizer(vocab_size: int) -> Tokenizer:
    """The tokenizer that a synthetic model of so large a vocabulary gets; raises EngineError."""
    return Tokenizer(synthetic_vocab(vocab_size))


def stale_first_token(tokenizer_file: Path, prompt: str) -> tuple[str, str] | None:
    """`Tokenizer.stale_last` of a file's tokenizer."""
    return file_tokenizer(tokenizer_file).stale_last(prompt)


def model_record(name: str, config: ModelConfig, model_file: Path, tokenizer: Path) -> ModelRecord:
    """What a report says about a model."""
    files = model_file.name, tokenizer.name, model_file.stat().st_size
    return shape_record(name, config, *files, weight_type=config.weight_type.label)


def shape_record(
    name: str,
    config: ModelConfig,
    model_file: str,
    tokenizer_file: str,
    size_bytes: int | None = None,
    *,
    weight_type: str,
) -> ModelRecord:
    """The same of a model whose files are known by their names only, or not at all."""
    return ModelRecord(
        name=name,
        model_file=model_file,
        tokenizer_file=tokenizer_file,
        size_bytes=size_bytes,
        arch=config.arch.name.lower(),
        dim=config.dim,
        hidden_dim=config.ff_dim,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        n_kv_heads=config.n_kv_heads,
        vocab_size=config.vocab_size,
        seq_len=config.seq_len,
        weight_type=weight_type,
    )


def kept_weights() -> list[tuple[Path, int, float]]:
    """What workers of this machine keep of their shares: file, bytes, last use (seconds)."""
    folder = weights_folder()
    entries = weight_cache.kept_entries(folder) if folder is not None else []
    return [(entry.path, entry.size_bytes, entry.used_s) for entry in entries]


def remove_weights(path: Path) -> bool:
    """Remove such a file; False while a worker fills it."""
    return weight_cache.remove(path)
