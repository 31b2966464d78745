"""Named model shapes with their published hyper-parameters, and shapes spelled `key=value,...`.

Knows nothing about weights and files.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from dllama_engine.errors import EngineError
from dllama_engine.formats.config import Arch, HiddenAct, ModelConfig, RopeType
from dllama_engine.formats.quants import FloatType


class ShapeError(EngineError):
    """A shape that is not known or cannot be."""


_Fields = dict[str, Any]

_LLAMA2: _Fields = {"arch": Arch.LLAMA, "vocab_size": 32000, "seq_len": 4096}
_LLAMA3: _Fields = {
    "arch": Arch.LLAMA,
    "n_kv_heads": 8,
    "vocab_size": 128256,
    "seq_len": 131072,
    "rope_type": RopeType.LLAMA3_1,
    "rope_theta": 500000.0,
    "rope_scaling_low_freq_factor": 1.0,
    "rope_scaling_high_freq_factor": 4.0,
    "rope_scaling_orig_max_seq_len": 8192,
}
_QWEN3: _Fields = {
    "arch": Arch.QWEN3,
    "n_kv_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "seq_len": 40960,
    "rope_type": RopeType.FALCON,
    "rope_theta": 1000000.0,
    "norm_epsilon": 1e-6,
}
_TINY: _Fields = {
    "dim": 128,
    "hidden_dim": 256,
    "n_layers": 2,
    "n_heads": 8,
    "vocab_size": 512,
    "seq_len": 256,
}
_TINY_QWEN3: _Fields = {**_QWEN3, **_TINY, "n_kv_heads": 4, "head_dim": 32}


def _sizes(dim: int, hidden_dim: int, n_layers: int, n_heads: int) -> _Fields:
    return {"dim": dim, "hidden_dim": hidden_dim, "n_layers": n_layers, "n_heads": n_heads}


SHAPES: dict[str, _Fields] = {
    "llama-160m": {**_LLAMA2, **_sizes(768, 3072, 12, 12), "seq_len": 2048, "norm_epsilon": 1e-6},
    "tinyllama-1.1b": {**_LLAMA2, **_sizes(2048, 5632, 22, 32), "n_kv_heads": 4, "seq_len": 2048},
    "llama3.2-1b": {**_LLAMA3, **_sizes(2048, 8192, 16, 32), "rope_scaling_factor": 32.0},
    "llama3.2-3b": {**_LLAMA3, **_sizes(3072, 8192, 28, 24), "rope_scaling_factor": 32.0},
    "llama3.1-8b": {**_LLAMA3, **_sizes(4096, 14336, 32, 32), "rope_scaling_factor": 8.0},
    "llama-7b": {**_LLAMA2, **_sizes(4096, 11008, 32, 32)},
    "llama-13b": {**_LLAMA2, **_sizes(5120, 13824, 40, 40)},
    "llama-30b": {**_LLAMA2, **_sizes(6656, 17920, 60, 52), "seq_len": 2048, "norm_epsilon": 1e-6},
    "qwen3-0.6b": {**_QWEN3, **_sizes(1024, 3072, 28, 16)},
    "qwen3-8b": {**_QWEN3, **_sizes(4096, 12288, 36, 32)},
    "qwen3-30b-a3b": {
        **_QWEN3,
        **_sizes(2048, 6144, 48, 32),
        "arch": Arch.QWEN3_MOE,
        "n_kv_heads": 4,
        "n_experts": 128,
        "n_active_experts": 8,
        "moe_hidden_dim": 768,
    },
    "tiny-llama": {**_LLAMA2, **_TINY},
    "tiny-gqa": {**_LLAMA2, **_TINY, "n_kv_heads": 2},
    "tiny-qwen3": _TINY_QWEN3,
    "tiny-qwen3moe": {
        **_TINY_QWEN3,
        "arch": Arch.QWEN3_MOE,
        "n_experts": 8,
        "n_active_experts": 2,
        "moe_hidden_dim": 64,
    },
}
_BASES = {Arch.LLAMA: "tiny-llama", Arch.QWEN3: "tiny-qwen3", Arch.QWEN3_MOE: "tiny-qwen3moe"}
_ENUMS = {"arch": Arch, "rope_type": RopeType, "hidden_act": HiddenAct, "weight_type": FloatType}
_KEYS = tuple(field.name for field in fields(ModelConfig))


def parse_shape(text: str) -> ModelConfig:
    """A named shape, a `key=value,...` list, or a name with changes: `llama-7b,weight_type=q80`.

    What a list leaves out is as in the tiny shape of its architecture; weights are Q40.

    Raises:
        ShapeError: an unknown name or key, or values of no model; with those that are known.
    """
    name, given = _split(text)
    base = SHAPES[name or _BASES[given.get("arch", Arch.LLAMA)]]
    values = {"weight_type": FloatType.Q40, **base, **given}
    if "n_heads" in given and not name and "n_kv_heads" not in given:
        values["n_kv_heads"] = given["n_heads"]
    values.setdefault("n_kv_heads", values["n_heads"])
    values.setdefault("head_dim", max(values["dim"], 0) // max(values["n_heads"], 1))
    try:
        return ModelConfig(**values)
    except EngineError as error:
        raise ShapeError(f"shape {text!r}: {error}") from None


def _split(text: str) -> tuple[str, _Fields]:
    """The name in front, if any, and the `key=value` changes."""
    first, *rest = [part.strip() for part in text.split(",") if part.strip()] or [""]
    if "=" in first:
        return "", dict(_assignment(text, part) for part in (first, *rest))
    if first not in SHAPES:
        raise ShapeError(
            f"unknown shape {first!r}; one of {', '.join(SHAPES)}, or a list such as "
            "dim=256,n_layers=2,weight_type=q40"
        )
    return first, dict(_assignment(text, part) for part in rest)


def _assignment(text: str, part: str) -> tuple[str, Any]:
    key, _, value = (piece.strip() for piece in part.partition("="))
    if key not in _KEYS:
        raise ShapeError(f"shape {text!r}: unknown key {key!r}; one of {', '.join(_KEYS)}")
    try:
        if key in _ENUMS:
            return key, _ENUMS[key][value.upper()]
        if key in ("norm_epsilon", "rope_theta") or key.endswith("_factor"):
            return key, float(value)
        return key, int(value)
    except KeyError:
        known = ", ".join(kind.name.lower() for kind in _ENUMS[key])
        raise ShapeError(f"shape {text!r}: {key} is {value!r}; one of {known}") from None
    except ValueError:
        raise ShapeError(f"shape {text!r}: {key} is {value!r}, expected a number") from None
