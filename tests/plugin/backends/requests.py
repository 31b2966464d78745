"""The request that tests of backends send; they change what matters to them."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.backends.base import EngineRequest

REQUEST = EngineRequest(
    model_file=Path("m.m"),
    tokenizer_file=Path("t.t"),
    prompt="hello world",
    steps=48,
    nthreads=1,
    buffer_float_type="q80",
    sync_mode="reduce",
    temperature=0.0,
    seed=1,
    timeout_s=60.0,
)
