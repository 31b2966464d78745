"""What a process of `dllama-py` loads and where it keeps what it made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engine.processes import command, environment


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, dllama_engine.cli.main, dllama_engine.cli.flags.parsing; "
        "dllama_engine.cli.flags.parsing.build_parser().format_help(); "
        "sys.exit(bool({'numpy', 'numba'} & set(sys.modules)))"
    )
    assert subprocess.run([command()[0], "-c", code], check=False).returncode == 0


def test_a_plan_loads_no_compiler() -> None:
    code = (
        "import sys; from dllama_engine.cli.main import main; "
        "assert main(['plan', '--shape', 'llama-160m', '--nodes', '2']) == 0; "
        "sys.exit(bool({'numba', 'llvmlite'} & set(sys.modules)))"
    )
    done = subprocess.run([command()[0], "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_rank_that_packs_and_measures_nothing_beside_imports_nothing_for_it() -> None:
    """Pools of threads bring logging with them, the probe of links exact fractions."""
    code = (
        "import sys; from dllama_engine.cli.main import main; "
        "assert main(['inference', '--model', 'tiny', '--prompt', 'a', '--steps', '2']) == 0; "
        "sys.exit(str({'logging', 'concurrent.futures', 'statistics'} & set(sys.modules)))"
    )
    done = subprocess.run([command()[0], "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "set()"


MODES = {
    "inference": ("--model", "tiny", "--prompt", "a", "--steps", "2"),
    "worker": ("--port", "0", "--idle-timeout", "0.1"),
}


LOOKS_AT_START = """
import gc, sys
from dllama_engine.cli.main import main
from dllama_engine.system import process

looks, before, started = [], [], process.started

def tell_and_start():
    before.append(len(looks))
    started()

process.started = tell_and_start
gc.collect()
gc.callbacks.append(lambda phase, info: looks.append(phase))
assert main(sys.argv[1:]) == 0
print(*before, gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


@pytest.mark.parametrize("mode", MODES)
def test_no_garbage_is_looked_for_in_what_a_process_imports(mode: str) -> None:
    """Looking was a tenth of a start; what has come since is looked at."""
    done = subprocess.run(
        [command()[0], "-c", LOOKS_AT_START, mode, *MODES[mode]], capture_output=True, text=True,
        env=environment(), check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["0 True True"], done.stderr


def test_a_process_that_ends_looks_for_no_garbage() -> None:
    """A tenth of what a short session costs; what is registered first is called last."""
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000)); "
        "from dllama_engine.cli.main import main; "
        "main(['plan', '--shape', 'llama-160m', '--nodes', '2', '--json'])"
    )
    done = subprocess.run([command()[0], "-c", code], capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"True"


def test_compiled_kernels_go_to_the_users_cache(tmp_path: Path) -> None:
    """A read-only home falls back to a folder of this user's; nothing fails."""
    home = tmp_path / "home"
    home.mkdir()
    code = "from dllama_engine.system import process; print(process.kernel_cache_folder())"
    folders = []
    for cache in (home / "cache", Path("/proc/nowhere")):
        done = subprocess.run(
            [command()[0], "-c", code], env=environment(XDG_CACHE_HOME=str(cache)),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        folders.append(Path(done.stdout.strip()))
    assert folders[0].parent == home / "cache" / "dllama-py"
    assert folders[0].name.startswith("numba-")
    assert folders[1].is_dir()
    assert folders[1].stat().st_mode & 0o077 == 0
