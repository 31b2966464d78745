"""`python -m dllama_engine.kernels.compiler.build [TARGET]`: compile all kernels into an image.

The image goes into this user's cache, unless `--output FILE` names a place; the last line says
where it is. Targets are `native` (the default) and those of `kernels.image.targets`. A process of
its own, as a compiler's memory would stay with whoever starts it: see `build`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from dllama_engine.errors import EngineError
from dllama_engine.kernels.compiler.gc_threshold import raise_gc_threshold
from dllama_engine.kernels.cpu import cpu_digest, machine, variant
from dllama_engine.kernels.entries import ALL
from dllama_engine.kernels.image import store, targets
from dllama_engine.kernels.image.file import Header, ImageRefused, decode, encode
from dllama_engine.system.os_reason import reason_of
from dllama_engine.version import package_version

CANNOT_KEEP = 3  # exit code: the image cannot be written
_MODULE = "dllama_engine.kernels.compiler.build"
# What numba code may call; whatever else would bring in Python or numba's own library.
_IMPORTS = frozenset(
    (
        *("abort", "write", "malloc", "free", "memset", "memcpy", "memmove", "expf", "exp"),
        *("readv", "writev", "poll", "__errno_location", "clock_gettime", "pread"),
        *("syscall", "usleep", "sched_yield"),
        *("recvmsg", "sendmsg", "shutdown", "ppoll"),  # of the relay
    )
)


def command(target: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of the process that builds for a target.

    Raises:
        EngineError: there is no such target.
    """
    kept = ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NUMBA_") or name in kept
    }
    line = [sys.executable, "-P", "-m", _MODULE, target, *options]
    return line, variables | targets.environment(target)


def main(argv: list[str]) -> int:
    """Compile and write; returns the exit code."""
    parser = argparse.ArgumentParser(prog=_MODULE)
    parser.add_argument("target", nargs="?", default=targets.NATIVE)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--if-missing", action="store_true", help="not where a whole one is kept")
    parser.add_argument("--exit-with-stdin", action="store_true")
    options = parser.parse_args(argv)
    if options.exit_with_stdin:
        from dllama_engine.system.process import exit_with_parent

        exit_with_parent(None)
    missing = targets.environment(options.target).items() - os.environ.items()
    if missing:  # numba reads them when it is imported
        line, variables = command(options.target, *argv[1:])
        return subprocess.run(line, env=variables, check=False).returncode
    name = options.target
    if options.if_missing:
        for place in (options.output or store.path(name), store.packaged(name)):
            if kept := _kept(place):
                print(kept)
                return 0
    place = options.output or store.path(name)
    try:
        store.check_room(place)
        data = image(targets.native() if name == targets.NATIVE else targets.NAMED[name])
        store.keep(data, place)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"compiled kernels cannot be kept in {place.parent} ({reason_of(error)}); "
            "make room there, or set XDG_CACHE_HOME to another folder",
            file=sys.stderr,
        )
        return CANNOT_KEEP
    print(_described(place, data))
    return 0


def _kept(place: Path) -> str:
    """What is said of a whole image of these sources; empty if there is none."""
    try:
        data = place.read_bytes()
        header, _ = decode(data)
    except (OSError, ImageRefused):
        return ""
    same = (header.sources, header.version) == (store.sources(), package_version())
    return _described(place, data) if same else ""


def _described(place: Path, data: bytes) -> str:
    return f"{place}: {len(data) >> 10} KiB"


def image(target: targets.Target) -> bytes:
    """All kernels for a target, as the bytes of an image file.

    This process can compile nothing else afterwards, and run nothing that numba compiles.

    Raises:
        EngineError: they cannot be linked.
    """
    from dllama_engine.kernels.compiler.emitter import Emitter
    from dllama_engine.kernels.compiler.linker import link

    raise_gc_threshold()
    emitter = Emitter(target)
    import_module("dllama_engine.kernels.llvm")
    objects = [
        emitter.emit(entry.name, entry.compiled.function, entry.n_arguments, entry.returns)
        for entry in ALL
    ]
    linked = link(objects, [entry.name for entry in ALL])
    others = set(linked.imports) - _IMPORTS
    if others:
        raise EngineError(f"kernels call {', '.join(sorted(others))}, which no rank may need")
    is_native = target.name == targets.NATIVE
    header = Header(
        version=package_version(),
        sources=store.sources(),
        machine=machine(),
        variant=variant(),
        target=target.name,
        cpu=cpu_digest() if is_native else "",
        features=() if is_native else target.needs,
        compiler=emitter.described,
        entries=linked.entries,
        imports=linked.imports,
        imports_at=linked.imports_at,
        rebased=tuple(linked.rebased),
    )
    return encode(header, bytes(linked.code))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
