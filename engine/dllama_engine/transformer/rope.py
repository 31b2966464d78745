"""Rotary position tables, as dllama computes them (FORMATS: Forward pass)."""

from __future__ import annotations

import math

import numpy as np

from dllama_engine.arrays import Floats
from dllama_engine.formats.config import ModelConfig

_F32 = np.float32


def rope_frequencies(config: ModelConfig) -> Floats:
    """Angular frequency of each rotated pair, float32 (head_dim / 2,), scaling included."""
    exponents = (2 * np.arange(config.head_dim // 2) / np.float32(config.head_dim)).astype(_F32)
    powers = np.float64(np.float32(config.rope_theta)) ** exponents.astype(np.float64)
    frequencies = _F32(1.0) / powers.astype(_F32)
    if config.rope_scaling_factor == 1.0:
        return frequencies
    return np.array([_scale(frequency, config) for frequency in frequencies], _F32)


def _scale(frequency: np.float32, config: ModelConfig) -> np.float32:
    """Llama-3.1 scaling of one frequency (as in Meta's reference `apply_scaling`)."""
    factor, original = _F32(config.rope_scaling_factor), config.rope_scaling_orig_max_seq_len
    low = _F32(config.rope_scaling_low_freq_factor)
    high = _F32(config.rope_scaling_high_freq_factor)
    wavelength = _F32(2.0 * math.pi / float(frequency))
    if wavelength < original / high:
        return frequency
    if wavelength > original / low:
        return frequency / factor
    smooth = (_F32(original) / wavelength - low) / (high - low)
    return (_F32(1.0) - smooth) * frequency / factor + smooth * frequency


def rope_tables(config: ModelConfig, max_seq_len: int) -> tuple[Floats, Floats]:
    """Cosines and sines, each float32 (max_seq_len, head_dim / 2).

    The angle is rounded to float32 before the cosine is taken, as in dllama: far positions differ
    visibly from exact angles.
    """
    positions = np.arange(max_seq_len, dtype=_F32)
    angles = np.outer(positions, rope_frequencies(config)).astype(np.float64)
    return np.cos(angles).astype(_F32), np.sin(angles).astype(_F32)
