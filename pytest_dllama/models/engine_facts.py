"""What the engine's files and closed forms say about a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dllama_engine
from dllama_engine.errors import EngineError as EngineError
from dllama_engine.formats.config import ModelConfig as ModelConfig
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.memory import rank_memory, token_read_bytes
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.text.tokenizer import read_tokenizer
from pytest_dllama.record.run import ModelRecord

# What others need to name: the engine's errors and a model's configuration.
__all__ = [
    "EngineError",
    "ModelConfig",
    "check_split",
    "file_config",
    "model_record",
    "prompt_tokens",
    "shape_config",
    "shard_bytes",
    "shipped_model",
    "shipped_names",
    "token_bytes",
    "write_shape",
]

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


def shard_bytes(
    config: ModelConfig, nodes: int, buffer_float_type: str, sync_mode: str
) -> tuple[int, ...]:
    """Memory that each rank needs, the root's first, with the engine's own default options."""
    plan = _plan(config, nodes, buffer_float_type, sync_mode)
    needs = (
        rank_memory(
            plan, rank, batch_size=32, max_seq_len=config.seq_len, kv_type=FloatType.parse("f32")
        )
        for rank in range(nodes)
    )
    return tuple(need.total_bytes for need in needs)


def token_bytes(
    config: ModelConfig,
    nodes: int,
    buffer_float_type: str,
    sync_mode: str,
    n_positions: float,
) -> tuple[int, ...]:
    """What each rank must read to decode a token after so many others, with an f32 cache."""
    plan = _plan(config, nodes, buffer_float_type, sync_mode)
    kv_type = FloatType.parse("f32")
    return tuple(
        token_read_bytes(plan, rank, n_positions=n_positions, kv_type=kv_type)
        for rank in range(nodes)
    )


def _plan(config: ModelConfig, nodes: int, buffer_float_type: str, sync_mode: str) -> ShardPlan:
    """Who holds what, by the words of the options; raises EngineError."""
    buffers = FloatType.parse(buffer_float_type)
    return make_plan(config, nodes, buffer_type=buffers, sync_mode=SyncMode(sync_mode))


def prompt_tokens(tokenizer_file: Path, prompt: str) -> int:
    """Tokens the engine makes of a prompt; raises EngineError."""
    return len(read_tokenizer(tokenizer_file).encode(prompt))


def stale_first_token(tokenizer_file: Path, prompt: str) -> tuple[str, str] | None:
    """What dllama v0.12 and later decodes its first token from, where that is not the last token.

    It reads one place behind the prompt's ids (dllama.cpp, `inputTokens[pos + 1]`), where its
    merging has left the last id of the list as it was before the last merge; 0 if none took place.

    Returns:
        (the piece that it takes, the prompt's last piece); None where it takes the right one.

    Raises:
        EngineError: a prompt that cannot be encoded.
    """
    tokenizer = read_tokenizer(tokenizer_file)
    ids, lasts = tokenizer.encode_with_lasts(prompt)
    fed = lasts[-1] if lasts else 0
    if len(ids) < 2 or fed == ids[-1]:
        return None
    pieces = (tokenizer.vocab.tokens[i].decode(errors="replace") for i in (fed, ids[-1]))
    taken, last = pieces
    return taken, last


def model_record(name: str, config: ModelConfig, model_file: Path, tokenizer: Path) -> ModelRecord:
    """What a report says about a model."""
    return ModelRecord(
        name=name,
        model_file=model_file.name,
        tokenizer_file=tokenizer.name,
        size_bytes=model_file.stat().st_size,
        arch=config.arch.name.lower(),
        dim=config.dim,
        hidden_dim=config.ff_dim,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        n_kv_heads=config.n_kv_heads,
        vocab_size=config.vocab_size,
        seq_len=config.seq_len,
        weight_type=config.weight_type.label,
    )
