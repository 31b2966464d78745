"""Making kernels ready where nothing can be compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dllama_engine.cluster.setup import warmup
from dllama_engine.errors import EngineError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.plan import SyncMode, make_plan


def test_without_an_image_and_without_numba_the_remedy_is_told(monkeypatch) -> None:
    monkeypatch.setattr(warmup.mapped, "use", lambda tell: False)
    monkeypatch.setattr(warmup.store, "is_wanted", lambda: False)
    monkeypatch.delitem(sys.modules, "dllama_engine.cluster.setup.compile_here", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with ModelFile.open(model_path("tiny")) as model:
        plan = make_plan(model.config, 1, buffer_type=FloatType.Q80, sync_mode=SyncMode.REDUCE)
    with pytest.raises(EngineError, match=r"numba is not installed here; install numba, or bring"):
        warmup.warm_up(plan, FloatType.F32)


def test_before_any_kernel_is_imported_it_is_known_where_they_are_kept(tmp_path: Path) -> None:
    """A lock and a mark stand there: of those who compile, and of what is compiled."""
    asked = (
        "from dllama_engine.cluster.setup import compile_here; print(compile_here.cache_folder())"
    )
    told = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(told.stdout.strip())
    assert folder.parent == tmp_path
    assert folder.name.startswith("kernels-")
