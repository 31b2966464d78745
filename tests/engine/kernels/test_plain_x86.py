"""An x86 CPU without AVX, F16C and fused products: slow, but the same numbers.

LLVM calls a library's function where an instruction is missing, and a process that finds none of
that name is aborted: half-precision numbers are therefore converted in integers there.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data import ROOT
from tests.engine import reference_runs

COMPILING_S = 600
PLAIN = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse2"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="an x86 CPU of long ago is asked for")
def test_all_that_runs_on_a_plain_x86_gives_the_bits_of_this_cpu(tmp_path: Path) -> None:
    path = tmp_path / "results.npz"
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.reference_runs", path],
        env={name: text for name, text in os.environ.items() if name != "DLLAMA_KERNELS"} | PLAIN,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMPILING_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as stored:
        theirs = {name: stored[name] for name in stored.files}
    ours = dict(reference_runs.results())
    assert list(theirs) == list(ours)
    different = [name for name in ours if not reference_runs.same(ours[name], theirs[name])]
    assert not different
