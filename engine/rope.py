"""Rotary position tables, as dllama computes them (FORMATS: Forward pass)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from engine.model_file import ModelConfig

Floats = npt.NDArray[np.float32]


def rope_frequencies(config: ModelConfig) -> npt.NDArray[np.float64]:
    """Angular frequency of each rotated pair, (head_dim / 2,), Llama-3.1 scaling included."""
    pairs = np.arange(config.head_dim // 2, dtype=np.float64)
    frequencies = config.rope_theta ** (-2.0 * pairs / config.head_dim)
    if config.rope_scaling_factor == 1.0:
        return frequencies
    return np.array([_scale(float(frequency), config) for frequency in frequencies])


def _scale(frequency: float, config: ModelConfig) -> float:
    """Llama-3.1 scaling of one frequency (as in Meta's reference `apply_scaling`)."""
    factor, original = config.rope_scaling_factor, config.rope_scaling_orig_max_seq_len
    low, high = config.rope_scaling_low_freq_factor, config.rope_scaling_high_freq_factor
    wavelength = 2.0 * math.pi / frequency
    if wavelength < original / high:
        return frequency
    if wavelength > original / low:
        return frequency / factor
    smooth = (original / wavelength - low) / (high - low)
    return (1.0 - smooth) * frequency / factor + smooth * frequency


def rope_tables(config: ModelConfig, max_seq_len: int) -> tuple[Floats, Floats]:
    """Cosines and sines, each float32 (max_seq_len, head_dim / 2)."""
    angles = np.outer(np.arange(max_seq_len, dtype=np.float64), rope_frequencies(config))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
