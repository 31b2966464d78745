"""Starts of real processes: from nothing, in parallel, warm, where nothing can be written."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dllama_engine.kernels import cache as numba_cache
from dllama_engine.kernels.sources import installed_digest, text_digest
from dllama_engine.synthetic.model import write_synthetic
from tests.engine.processes import (
    Node,
    command,
    environment,
    inference_arguments,
    read_events,
    start,
    wait_until,
)

pytestmark = pytest.mark.long

EIGHT = 8
COMPILING_S = 900  # on a busy or small machine; only a failing test waits so long
COMPILING = "Compiling the kernels for this CPU"
OTHER_CPUS = {  # older than what tests run on, so that its code can run there
    "x86_64": ("generic", "+sse2", "generic"),  # that of test_plain_x86.py
    "aarch64": ("cortex-a72", "+neon,+fp-armv8", "neon"),
}
PROMPT = ("--prompt", "hello world", "--steps", 12, "--temperature", 0)


def in_cache(folder: Path, **more: str) -> dict[str, str]:
    """Environment of a user whose cache folder this is."""
    return {"XDG_CACHE_HOME": str(folder), "NUMBA_CACHE_DIR": "", **more}


def compilers(folder: Path) -> set[int]:
    """Processes that compile for this cache folder now."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"dllama_engine.kernels.compiler.build" in (process / "cmdline").read_bytes():
                variables = (process / "environ").read_bytes()
                if f"XDG_CACHE_HOME={folder}\0".encode() in variables:
                    found.add(int(process.name))
    return found


def images(cache: Path) -> Path:
    """The folder of images below a user's cache folder."""
    (found,) = cache.glob("dllama-py/numba-*/images")
    return found


def share_numba_code(cache: Path, variant: str) -> None:
    """Let what numba compiles for a variant be kept for, or by, the tests of that variant."""
    base = Path(numba_cache.folder()).parent
    name = f"kernels-{numba_cache.sources_digest()}-{variant}"
    (base / name).mkdir(parents=True, exist_ok=True)
    (images(cache).parent / name).symlink_to(base / name)


@dataclass
class ColdStart:
    """What eight ranks left that started together with an empty cache."""

    cache: Path
    request: list[object]
    logs: list[str] = field(default_factory=list)
    compilers: set[int] = field(default_factory=set)
    tokens: list[int] = field(default_factory=list)


def token_ids(events: Path) -> list[int]:
    steps = [event["token_id"] for event in read_events(events) if event["event"] == "step"]
    found = [token for token in steps if token is not None]
    assert found
    return found


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> ColdStart:
    folder = tmp_path_factory.mktemp("cold")
    model, tokenizer = write_synthetic("tiny-llama", folder)
    files = ["inference", "--model", model, "--tokenizer", tokenizer, "--sync-mode", "invariant"]
    # Compiling takes longer than the timeout: heartbeats keep the ranks from giving up.
    result = ColdStart(folder / "cache", [*files, *PROMPT, "--timeout", 10])
    variables = in_cache(result.cache)
    nodes: list[Node] = []
    try:
        for rank in range(1, EIGHT):
            nodes.append(
                start(folder, f"worker{rank}", "worker", "--port", 0,
                      "--exit-with-parent", os.getpid(), **variables)
            )  # fmt: skip
        addresses = [node.address for node in nodes]
        root = start(folder, "root", *result.request, "--workers", *addresses, **variables)
        nodes.append(root)

        def ended() -> bool:
            """Ten looks a second: each is at all processes, and compiling takes seconds."""
            result.compilers |= compilers(result.cache)
            with suppress(subprocess.TimeoutExpired):
                root.process.wait(0.1)
            return root.process.returncode is not None

        wait_until(ended, "the first request", COMPILING_S)
        assert root.process.returncode == 0, root.log
        result.tokens = token_ids(root.events_path)
    finally:
        for node in nodes:
            node.stop()
    result.logs = [node.log for node in nodes]
    return result


def start_root(tmp_path: Path, name: str, request: list[object], variables: dict[str, str]) -> Node:
    return start(tmp_path, name, *request, **variables)


def test_eight_ranks_that_start_cold_together_compile_once(cold: ColdStart) -> None:
    assert len(cold.compilers) == 1
    assert all("are not used" not in log for log in cold.logs)
    (image,) = images(cold.cache).glob("*.image")
    assert image.name.startswith(f"{text_digest()[:12]}-")
    assert image.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in images(cold.cache).iterdir()} == {image.name, "build.lock"}
    assert not list(cold.cache.rglob("*.nbc"))  # no rank compiled anything


def test_a_warm_start_compiles_nothing_and_says_the_same(cold: ColdStart, tmp_path: Path) -> None:
    root = start_root(tmp_path, "warm", cold.request, in_cache(cold.cache))
    assert root.wait() == 0, root.log
    assert COMPILING not in root.log
    assert token_ids(root.events_path) == cold.tokens


def test_a_home_that_is_read_only_costs_one_line(cold: ColdStart, tmp_path: Path) -> None:
    """HOME below /sys, where not even the superuser can make a folder; XDG_CACHE_HOME unset."""
    own = tmp_path / f"dllama-py-numba-{os.getuid()}"
    own.mkdir(mode=0o700)
    shutil.copytree(images(cold.cache), own / "images")
    variables = in_cache(Path(), HOME="/sys", TMPDIR=str(tmp_path), XDG_CACHE_HOME="")
    worker = start(
        tmp_path, "worker", "worker", "--port", 0, "--exit-with-parent", os.getpid(), **variables
    )
    try:
        for session in range(2):
            request = [*cold.request, "--workers", worker.address]
            root = start_root(tmp_path, f"root{session}", request, variables)
            assert root.wait() == 0, root.log
            assert token_ids(root.events_path) == cold.tokens
    finally:
        worker.stop()
    for node in (root, worker):
        assert node.log.count(f"compiled kernels are kept in {own}") == 1, node.log
        assert COMPILING not in node.log


def test_no_cache_folder_at_all_is_no_reason_to_stop(cold: ColdStart, tmp_path: Path) -> None:
    """The makeshift folder is somebody else's: it is not used, since what is in it would be run."""
    own = tmp_path / f"dllama-py-numba-{os.getuid()}"
    own.mkdir(mode=0o777)
    own.chmod(0o777)
    shutil.copytree(images(cold.cache), own / "images")
    variables = in_cache(Path(), HOME="/sys", TMPDIR=str(tmp_path), XDG_CACHE_HOME="")
    root = start_root(tmp_path, "root", cold.request, variables)
    root.wait_log(COMPILING)
    root.stop(signal.SIGKILL)
    kept = re.search(r"compiled kernels are kept in (\S+)", root.log)
    assert kept is not None
    assert kept[1] != str(own)


def test_images_of_other_sources_or_versions_are_not_used(cold: ColdStart, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    numba_folder = images(cold.cache).parent.name
    own, other = cache / "dllama-py" / numba_folder / "images", cache / "dllama-py/numba-0.0.1"
    shutil.copytree(images(cold.cache), own)
    shutil.copytree(images(cold.cache), other / "images")
    (image,) = own.glob("*.image")
    image.rename(image.with_name(image.name.replace(text_digest()[:12], "0" * 12)))
    root = start_root(tmp_path, "root", cold.request, in_cache(cache))
    root.wait_log(COMPILING)
    pids = wait_until(lambda: compilers(cache), "a compiler")
    root.stop(signal.SIGKILL)
    wait_until(lambda: not pids & compilers(cache), "the end of the compiler with its root")


def test_another_cpus_image_is_not_used_and_a_killed_compiler_does_no_harm(
    cold: ColdStart, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(cold.cache, cache)
    cpu, features, variant = OTHER_CPUS[platform.machine()]
    share_numba_code(cache, variant)
    other = in_cache(cache, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features)
    root = start_root(tmp_path, "other", cold.request, other)
    (pid,) = wait_until(lambda: compilers(cache), "a compiler")
    os.kill(pid, signal.SIGKILL)
    assert root.process.wait(COMPILING_S) == 0, root.log  # numba has done it instead
    assert root.log.count("The kernels' compiler failed (exit code -9)") == 1
    assert token_ids(root.events_path) == cold.tokens
    again = start_root(tmp_path, "again", cold.request, other)
    again.wait_log(COMPILING)
    wait_until(lambda: compilers(cache), "a compiler that finds the lock free")
    again.stop(signal.SIGKILL)
    root = start_root(tmp_path, "own", cold.request, in_cache(cache))
    assert root.process.wait(COMPILING_S) == 0, root.log
    assert COMPILING not in root.log
    assert "compiler failed" not in root.log
    assert token_ids(root.events_path) == cold.tokens


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_a_worker_that_ends_while_it_compiles_is_named(tmp_path: Path, number: int) -> None:
    """A root that has its kernels does not wait for those of a worker that is gone."""
    variables = in_cache(tmp_path / "cache")
    parent = ("--exit-with-parent", os.getpid())
    worker = start(tmp_path, "worker", "worker", "--port", 0, *parent, **variables)
    try:
        request = inference_arguments([worker], steps=8, timeout=3)
        root = start(tmp_path, "root", *request)
        pids = wait_until(lambda: compilers(tmp_path / "cache"), "a compiler")
        worker.process.send_signal(number)
        assert root.wait() == 1
    finally:
        worker.stop(signal.SIGKILL)
    (error,) = root.events("error")
    assert error["rank"] == 1
    assert f"worker 1 at {worker.address}" in error["message"]
    assert "Traceback" not in root.log
    wait_until(lambda: not pids & compilers(tmp_path / "cache"), "the compiler's end")


def test_a_full_disk_is_named_with_its_remedy(cold: ColdStart, tmp_path: Path) -> None:
    """No file may grow beyond a kilobyte: the same error as a full disk's, from the same calls."""
    limited = ["sh", "-c", 'ulimit -f 2 && exec "$@"', "sh"]  # in blocks of 512 bytes
    done = subprocess.run(
        [*limited, *command(*cold.request)],
        capture_output=True,
        encoding="utf-8",
        env=environment(**in_cache(tmp_path)),
        timeout=COMPILING_S,
        check=False,
    )
    assert done.returncode == 1
    assert not compilers(tmp_path)
    assert "Traceback" not in done.stderr
    assert f"compiled kernels cannot be kept in {tmp_path}" in done.stderr
    assert "set XDG_CACHE_HOME to another folder" in done.stderr


def test_the_mark_of_compiled_kernels_is_of_one_installation(tmp_path: Path) -> None:
    """As numba's index: another place, or sources written anew, and it finds nothing there."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        (place / "kernels").mkdir(parents=True)
        (place / "tables").mkdir()
        (place / "kernels/kernel.py").write_text("pass\n")
        os.utime(place / "kernels/kernel.py", ns=(10**18, 10**18))
    found = {installed_digest(place) for place in places}
    os.utime(places[0] / "kernels/kernel.py", ns=(10**18, 10**18 + 1))
    assert len(found | {installed_digest(places[0])}) == 3
