"""What the folder of compiled kernels depends on: everything that they are compiled from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dllama_engine
from dllama_engine.kernels.cache import sources_digest
from dllama_engine.kernels.sources import sources
from dllama_engine.tables.links import LINK_WIDTH as WIDTH

PACKAGE = Path(dllama_engine.__file__).parent
# A kernel that says which constant it was compiled with.
FROZEN = '''
import numpy as np
from numba import carray
from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.ops.compiled import operation
from dllama_engine.tables.links import LINK_WIDTH

@operation
def frozen(at, rows, pos, row, first, last):
    """The width of a link's row, as compiled code knows it."""
    carray(pointer(at), (1,), np.int64)[0] = LINK_WIDTH
'''
CALL = """
import ctypes
import numpy as np
from dllama_engine.kernels.frozen import frozen
result = np.zeros(1, np.int64)
kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)
kind(frozen.address)(result.ctypes.data, 0, 0, 0, 0, 0)
print(result[0])
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the engine's sources with one more kernel."""
    copy = tmp_path / "dllama_engine"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("models", "__pycache__"))
    (copy / "kernels/frozen.py").write_text(FROZEN)
    return copy


def compiled_with(package: Path) -> int:
    """What the kernel of a fresh process says; all of them share a cache folder."""
    environment = os.environ | {
        "PYTHONPATH": str(package.parent),
        "NUMBA_CACHE_DIR": str(package.parent / "cache"),
    }
    told = subprocess.run(
        [sys.executable, "-P", "-c", CALL], env=environment, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    return int(told.stdout)


def test_a_changed_constant_of_a_table_is_compiled_anew(package: Path) -> None:
    """It is frozen into machine code, though the kernel's own file did not change."""
    before = compiled_with(package)
    tables = package / "tables/links.py"
    text = tables.read_text()
    line = f"\nLINK_WIDTH = {WIDTH} "
    assert line in text
    tables.write_text(text.replace(line, f"\nLINK_WIDTH = {WIDTH + 8} "))
    assert (before, compiled_with(package)) == (WIDTH, WIDTH + 8)


def test_every_source_of_compiled_code_is_in_the_digest(package: Path) -> None:
    seen = {sources_digest(package)}
    for path in sources(package):
        path.write_text(path.read_text() + "\n")
        seen.add(sources_digest(package))
    assert len(seen) == len(sources(package)) + 1


def test_a_file_in_a_room_of_the_kernels_is_in_the_digest(package: Path) -> None:
    before = sources_digest(package)
    (package / "kernels/room").mkdir()
    (package / "kernels/room/new.py").write_text("")
    assert sources_digest(package) != before


def test_the_compilers_settings_are_in_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import config

    before = sources_digest()
    monkeypatch.setattr(config, "OPT", 0)
    assert sources_digest() != before
