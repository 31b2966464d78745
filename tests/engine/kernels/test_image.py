"""Images of machine code: built, kept, refused, mapped; ranks that run them without a compiler."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding

from dllama_engine.arrays import Floats
from dllama_engine.errors import EngineError
from dllama_engine.formats.paths import model_path
from dllama_engine.kernels import cache, entries
from dllama_engine.kernels.compiler import build
from dllama_engine.kernels.compiler.linker import PAGE
from dllama_engine.kernels.cpu import cpu_features, machine
from dllama_engine.kernels.image import store, targets
from dllama_engine.kernels.image.file import Header, decode, encode
from dllama_engine.kernels.ops import layers, matmul, moe, packing, parts, streaming
from dllama_engine.kernels.ops.compiled import Compiled
from dllama_engine.kernels.run import exchange, observe, relay, team
from tests.engine import reference_runs
from tests.engine.processes import GENEROUS_S, environment, start, start_worker, wait_until

COMPILING_S = 600  # on a busy machine; only a failing test waits so long
PROMPT = ("--prompt", "hello world", "--steps", 8, "--temperature", 0)


def run_builder(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    line = [
        sys.executable,
        "-P",
        "-m",
        "dllama_engine.kernels.compiler.build",
        *map(str, arguments),
    ]
    return subprocess.run(
        line, env=environment(**more), capture_output=True, text=True, timeout=COMPILING_S
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image for this machine: the one that its user keeps, built if there is none yet."""
    done = run_builder("--if-missing")
    assert done.returncode == 0, done.stderr
    at = tmp_path_factory.mktemp("built") / "native.image"
    return Path(shutil.copy(done.stdout.rpartition(": ")[0], at))


@pytest.fixture
def kept(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own that holds the image."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    place = store.path(targets.NATIVE)
    store.keep(built.read_bytes(), place)
    return place


# -- what is in it -----------------------------------------------------------------------------


def test_the_catalogue_names_all_that_is_compiled_by_address() -> None:
    operations = (layers, matmul, moe, packing, parts, streaming)
    rooms = {"ops": operations, "run": (exchange, observe, relay, team)}
    defined = {
        f"{room}.{module.__name__.rpartition('.')[2]}.{name}": (value.n_arguments, value.returns)
        for room, modules in rooms.items()
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Compiled)
    }
    named = {entry.name: (entry.n_arguments, entry.returns) for entry in entries.ALL}
    assert named == defined


def test_an_image_holds_every_entry_and_calls_the_c_library_only(built: Path) -> None:
    header, code = decode(built.read_bytes())
    assert set(header.entries) == {entry.name for entry in entries.ALL}
    assert all(0 <= at < header.imports_at for at in header.entries.values())
    assert set(header.imports) <= build._IMPORTS
    assert header.imports_at % PAGE == 0
    assert len(code) >= header.imports_at + 8 * len(header.imports)
    assert built.stat().st_size < 10 << 20 >> 3  # eight of them are to fit a wheel


def test_an_unknown_target_is_an_error_that_names_the_known() -> None:
    with pytest.raises(EngineError, match=r"z80 is unknown; there are native, .*cortex-a76"):
        build.command("z80")


BITS = """
import sys
import numpy as np
from dllama_engine.kernels import entries
from dllama_engine.kernels.image import mapped
from tests.engine import reference_runs
if sys.argv[2] == "image":
    assert mapped.use(print), "no image"
np.savez(sys.argv[1], **dict(reference_runs.model_results()))
assert (mapped.address(entries.NORM.name) is None) == (sys.argv[2] == "numba")
"""


def results_of(code: str, folder: Path) -> dict[str, Floats]:
    """The reference runs by an image, or by numba, in a process of their own.

    What numba compiles here is what it compiles for the other tests: they share it.
    """
    path = folder / f"{code}.npz"
    kept = {"NUMBA_CACHE_DIR": str(Path(cache.folder()).parent)} if code == "numba" else {}
    done = subprocess.run(
        [sys.executable, "-c", BITS, path, code],
        env=environment(**kept),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=COMPILING_S,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def test_an_images_results_are_numbas_to_the_bit(kept: Path, tmp_path: Path) -> None:
    ours, theirs = results_of("numba", tmp_path), results_of("image", tmp_path)
    assert list(theirs) == list(ours)
    assert [name for name in ours if not reference_runs.same(ours[name], theirs[name])] == []


# -- what is refused ---------------------------------------------------------------------------


def with_header(change: Callable[[Header], Header]) -> Callable[[Path], None]:
    def damage(at: Path) -> None:
        header, code = decode(at.read_bytes())
        at.write_bytes(encode(change(header), bytes(code)))

    return damage


def cut_off(at: Path) -> None:
    at.write_bytes(at.read_bytes()[:-1])


def flip_a_bit(at: Path) -> None:
    data = bytearray(at.read_bytes())
    data[-PAGE - 100] ^= 1
    at.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "almost nothing": (lambda at: at.write_bytes(b"dllama"), "it is damaged .cut off."),
    "another file": (lambda at: at.write_bytes(bytes(4096)), "it is no image of kernels"),
    "truncated": (cut_off, "it is damaged .its digest is another."),
    "one bit": (flip_a_bit, "it is damaged .its digest is another."),
    "format": (with_header(lambda h: replace(h, format=7)), "its format is 7, not 1"),
    "version": (
        with_header(lambda h: replace(h, version="0.0.1")),
        r"built for another version of dllama-py \(0.0.1, here",
    ),
    "sources": (
        with_header(lambda h: replace(h, sources="00ff")),
        r"built for other sources of the kernels \(00ff, here",
    ),
    "machine": (with_header(lambda h: replace(h, machine="z80")), "another machine .z80, here"),
    "kernels": (with_header(lambda h: replace(h, variant="mmx")), "other kernels .mmx, here"),
    "cpu": (with_header(lambda h: replace(h, cpu="0123")), r"another CPU \(0123, here"),
    "features": (
        with_header(lambda h: replace(h, cpu="", features=("amx9", "xyz"))),
        "this CPU lacks amx9, xyz",
    ),
    "folder": (lambda at: at.parent.chmod(0o777), r"others can write .*images \(mode 777\); chmod"),
    "file": (lambda at: at.chmod(0o620), r"others can write .*image \(mode 620\); chmod go-w"),
    "link": (lambda at: at.symlink_to(at.rename(at.with_name("x"))), "levels of symbolic links"),
}


@pytest.mark.parametrize("what", sorted(DAMAGES))
def test_an_image_that_does_not_fit_is_refused_with_one_line(kept: Path, what: str) -> None:
    damage, reason = DAMAGES[what]
    told: list[str] = []
    assert store.find(told.append) is not None
    damage(kept)
    assert store.find(told.append) is None
    (line,) = told
    assert line.startswith(f"⚠️  Kernels in {kept} are not used: ")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(line)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give files away")
def test_an_image_of_another_user_is_refused(kept: Path) -> None:
    os.chown(kept, 12345, 12345)
    told: list[str] = []
    assert store.find(told.append) is None
    assert "belongs to user 12345" in told[0]


def test_an_image_is_readable_by_its_user_only_and_old_ones_go(kept: Path) -> None:
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    for number in range(20):
        store.keep(b"old", kept.with_name(f"{number}.image"))
    assert len(list(kept.parent.iterdir())) == store._KEPT


def test_numbas_settings_are_left_to_numba(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert store.find(lambda line: None) is None


def take(data: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "dllama_engine.tools.take_kernels"],
        input=data,
        env=environment(NUMBA_CACHE_DIR=str(folder)),
        capture_output=True,
        timeout=GENEROUS_S,
    )


def test_an_image_from_elsewhere_is_taken_if_it_fits(built: Path, tmp_path: Path) -> None:
    done = take(built.read_bytes(), tmp_path)
    assert done.returncode == 0, done.stderr
    (kept,) = tmp_path.rglob("*.image")
    assert done.stdout.decode().strip() == str(kept)
    assert kept.read_bytes() == built.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_an_image_from_elsewhere_that_is_damaged_is_not_taken(built: Path, tmp_path: Path) -> None:
    done = take(built.read_bytes()[:-1], tmp_path)
    assert done.returncode == 1
    assert b"these kernels are not taken: it is damaged" in done.stderr
    assert not list(tmp_path.rglob("*.image"))


# -- the CPU -----------------------------------------------------------------------------------


def test_the_system_names_the_features_that_llvm_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
    by_llvm = {name for name, here in binding.get_host_cpu_features().items() if here}
    asked = {"avx512vnni", "avx512vl", "avx512f", "avx512bw", "avx2", "f16c", "neon", "dotprod"}
    assert cpu_features() & asked == by_llvm & asked


# -- ranks -------------------------------------------------------------------------------------

ROOT = """
import sys
from dllama_engine.cli.main import main
code = main(sys.argv[1:])
print("heavy:", sorted(name for name in sys.modules if name.split(".")[0] in ("numba", "llvmlite")))
sys.exit(code)
"""


def test_ranks_with_an_image_load_no_compiler(kept: Path, tmp_path: Path) -> None:
    worker = start_worker(tmp_path, "worker")
    try:
        request = ["inference", "--model", "tiny", *PROMPT, "--workers", worker.address]
        done = subprocess.run(
            [sys.executable, "-c", ROOT, *map(str, request)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=GENEROUS_S,
        )
        assert done.returncode == 0, done.stderr
        assert "heavy: []" in done.stdout
        wait_until(lambda: "Weights loaded" in worker.log, "a session")
        libraries = Path(f"/proc/{worker.process.pid}/maps").read_text()
        assert "libllvmlite" not in libraries
        assert "numba" not in libraries
        assert "Compiling" not in worker.log
    finally:
        worker.stop()


WAITING = """
from dllama_engine.cluster.setup.preload import preload
from dllama_engine.kernels.image import mapped, store
preload()
store.find = None  # it would be asked now
print(mapped.use(print))
"""


def test_a_waiting_worker_has_mapped_its_kernels(kept: Path) -> None:
    line = [sys.executable, "-c", WAITING]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_damaged_image_costs_one_line_and_is_built_anew(kept: Path, tmp_path: Path) -> None:
    assert build._kept(kept)
    cut_off(kept)
    root = start(tmp_path, "root", "inference", "--model", model_path("tiny"), *PROMPT)
    root.wait_log("Compiling the kernels")
    root.stop(signal.SIGKILL)  # that an image comes of it takes half a minute: test_start.py
    assert root.log.count("are not used: it is damaged") == 1
    assert not build._kept(kept)


def as_packaged(native: Path, folder: Path, **changed: object) -> Path:
    """The image of this machine as a wheel would carry one for CPUs like it."""
    header, code = decode(native.read_bytes())
    name = next(t.name for t in targets.NAMED.values() if t.machine == machine())
    fields: dict[str, object] = {"target": name, "cpu": "", "features": (), **changed}
    header = replace(header, **fields)  # type: ignore[arg-type]
    at = folder / f"{name}.image"
    at.parent.mkdir(exist_ok=True)
    at.write_bytes(encode(header, bytes(code)))
    at.chmod(0o664)  # as pip leaves it under a umask of 002: the code beside it is no safer
    return at


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a wheel's images, beside an empty cache."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "PACKAGED", tmp_path / "images")
    return tmp_path / "images"


def test_an_image_of_the_wheel_serves_where_none_is_kept(built: Path, packages: Path) -> None:
    said: list[str] = []
    assert store.find(said.append) is None
    at = as_packaged(built, packages)
    found = store.find(said.append)
    assert found is not None
    assert found[0].target == at.stem
    assert said == []


@pytest.mark.parametrize("changed", [{"variant": "other"}, {"features": ("sme2p1", "amx-tile9")}])
def test_an_image_of_the_wheel_for_other_cpus_is_no_reason_for_a_word(
    built: Path, packages: Path, changed: dict[str, object]
) -> None:
    said: list[str] = []
    as_packaged(built, packages, **changed)
    assert store.find(said.append) is None
    assert said == []


def test_an_image_of_the_wheel_that_is_damaged_or_of_other_sources_is_refused(
    built: Path, packages: Path
) -> None:
    said: list[str] = []
    at = as_packaged(built, packages, sources="0" * 64)
    assert store.find(said.append) is None
    assert f"Kernels in {at} are not used: they were built for other sources" in said[0]
    at.write_bytes(at.read_bytes()[:-1] + b"?")
    assert store.find(said.append) is None
    assert "it is damaged (its digest is another)" in said[1]


@pytest.mark.parametrize(
    ("cpu", "first"), [("znver5", ["znver4", "znver3"]), ("skylake", ["x86-64-v4", "x86-64-v3"])]
)
def test_images_of_the_own_maker_s_cpus_come_first(
    monkeypatch: pytest.MonkeyPatch, cpu: str, first: list[str]
) -> None:
    monkeypatch.setenv("NUMBA_CPU_NAME", cpu)
    monkeypatch.setenv("DLLAMA_MACHINE", "x86_64")
    assert targets.fitting()[:2] == first
    assert set(targets.fitting()) == {"x86-64-v4", "x86-64-v3", "znver4", "znver3"}
