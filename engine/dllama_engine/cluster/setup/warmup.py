"""Make all kernels ready to call before anything is timed: map their image, or have one built.

The image is built by a process of its own, so that no rank ever holds a compiler. Ranks that start
together on one host take turns: one has it built and the others find it. Where there can be no
image, numba compiles what the plan needs (`compile_here`).
"""

from __future__ import annotations

import select
from collections.abc import Callable
from pathlib import Path

from dllama_engine.cluster.setup.aside import Attend, aside
from dllama_engine.errors import EngineError
from dllama_engine.formats.quants import FloatType
from dllama_engine.kernels.image import mapped, store
from dllama_engine.kernels.image.targets import NATIVE
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.system.locks import locked_if_possible
from dllama_engine.system.os_reason import reason_of
from dllama_engine.system.process import is_passing

Tell = Callable[[str], None]
_LOOK_S = 0.5
_COMPILING = "⏳ Compiling the kernels for this CPU; only the first time, a minute on a small board"
_told: set[Path] = set()


def _wait(wake: int) -> None:
    select.select([wake], [], [], _LOOK_S)


def warm_up(
    plan: ShardPlan,
    kv_type: FloatType,
    tell: Tell = lambda line: None,
    attend: Attend = _wait,
) -> None:
    """Make every kernel of `plan` ready to call.

    Args:
        plan: of the model.
        kv_type: of its cache.
        tell: called where that will take a while.
        attend: called while something is being compiled (`aside`).

    Raises:
        EngineError: what was compiled cannot be kept, or there is nothing to compile with.
    """
    _tell_of_passing_folder(tell)
    if not mapped.use(tell):
        aside(lambda: _compile(plan, kv_type, tell), attend)


def _compile(plan: ShardPlan, kv_type: FloatType, tell: Tell) -> None:
    if store.is_wanted():
        tell(_COMPILING)
        if _built(tell):
            return
    try:
        from dllama_engine.cluster.setup.compile_here import compile_for  # numba with it
    except ModuleNotFoundError as error:
        raise EngineError(
            f"no compiled kernels fit this machine and they cannot be compiled, as {error.name} is "
            "not installed here; install numba, or bring kernels from another machine "
            "(pytest-dllama kernels build --target, python -m dllama_engine.tools.take_kernels)"
        ) from None

    compile_for(plan, kv_type, tell)


def _tell_of_passing_folder(tell: Tell) -> None:
    """Where the kernels are if they are not where a user would look; once in a process's life."""
    folder = store.folder().parent
    if is_passing(folder) and folder not in _told:
        _told.add(folder)
        tell(
            f"⚠️  The user's cache folder cannot be written: compiled kernels are kept in {folder} "
            "and may have to be compiled again after a reboot; set XDG_CACHE_HOME to a folder "
            "that lasts"
        )


def _built(tell: Tell) -> bool:
    """Whether there is an image now, by this process's order or another's."""
    with locked_if_possible(store.folder() / "build.lock", 0o700) as may_write:
        if mapped.use(lambda line: None):
            return True
        if not may_write:
            return False
        problem = _build()
        if problem:
            tell(f"⚠️  {problem}; every process compiles for itself")
            return False
        return mapped.use(tell)


def _build() -> str:
    """Have the image built by a process that ends with this one; what went wrong, if anything.

    Raises:
        EngineError: it cannot be kept.
    """
    import subprocess

    from dllama_engine.kernels.compiler import build

    line, variables = build.command(NATIVE, "--exit-with-stdin")
    try:
        started = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,  # stays open as a sign of life
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=variables,
        )
    except OSError as error:
        return f"The kernels' compiler cannot be started ({reason_of(error)})"
    with started as builder:
        try:
            assert builder.stderr is not None  # asked for above
            said = builder.stderr.read().strip()
            code = builder.wait()
        except BaseException:
            builder.kill()
            raise
    reason = said.splitlines()[-1] if said else f"exit code {code}"
    if code == build.CANNOT_KEEP:
        raise EngineError(reason)
    return f"The kernels' compiler failed ({reason})" if code else ""
